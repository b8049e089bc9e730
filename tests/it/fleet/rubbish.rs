//! Whatever strangers send, the fleet stays healthy.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use muster_tests::Fleet;

/// Numbers that look random and are the same in every run (SplitMix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// The beginnings of QUIC packets: long headers of version 1 and of an unknown version, and a short header.
const HEADS: [&[u8]; 4] = [
    &[0xc3, 0, 0, 0, 1, 8],
    &[0xc3, 0xfa, 0xfa, 0xfa, 0xfa, 8],
    &[0x43],
    &[],
];

#[test]
fn rubbish_on_the_udp_port_harms_nobody() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let mut noise = Noise(1);
    for machine in &before.machines {
        let address: SocketAddr = machine
            .address
            .as_deref()
            .expect("joined")
            .parse()
            .expect("an address");
        for length in [0, 1, 2, 7, 20, 64, 1199, 1200, 1500, 9000, 65_000] {
            for head in HEADS {
                let mut packet = head.to_vec();
                packet.extend(noise.bytes(length));
                // Too long a packet is refused by the kernel, which is as good.
                let _ = socket.send_to(&packet, address);
            }
        }
        for _ in 0..2000 {
            let length = (noise.next() % 1400) as usize;
            let head = HEADS[(noise.next() % 4) as usize];
            let _ = socket.send_to(&[head, &noise.bytes(length)].concat(), address);
        }
    }
    expect_untouched(&fleet, &before);
}

#[test]
fn rubbish_on_the_socket_harms_nobody() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let node = before.machine("db-1").api().to_owned();
    let mut noise = Noise(2);
    let inputs: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"\n\n\n".to_vec(),
        b"{".to_vec(),
        b"{\"op\":\"status\"".to_vec(),
        b"{\"op\":\"no-such\"}\n".to_vec(),
        b"{\"op\":\"machine\",\"name\":5}\n".to_vec(),
        b"[[[[[[[[[[[[[[[[[[[[[[\n".repeat(1000),
        "[".repeat(100_000).into_bytes(),
        noise.bytes(100_000),
        vec![b'x'; 8 << 20],
    ];
    for input in inputs {
        let mut stream = UnixStream::connect(&node).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        // It may hang up at any moment; only what it does afterwards counts.
        let _ = stream.write_all(&input);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.take(1 << 20).read_to_end(&mut answer);
        assert!(answer.len() < 1 << 20, "an answer to rubbish is short");
    }
    // Those who connect and say nothing do not keep others out.
    let silent: Vec<_> = (0..200)
        .filter_map(|_| UnixStream::connect(&node).ok())
        .collect();
    expect_untouched(&fleet, &before);
    drop(silent);
    fleet.ask(&node, &["status"]).ok();
}

#[track_caller]
fn expect_untouched(fleet: &Fleet, before: &muster_tests::Status) {
    let after = fleet.wait_whole();
    assert_eq!(after.identities(), before.identities());
    for machine in &before.machines {
        assert!(fleet.process(machine).is_some(), "{} runs", machine.name);
    }
    assert!(fleet.events_of("replacing").is_empty());
    assert!(
        fleet.events_of("held").is_empty(),
        "nobody was even suspected"
    );
}
