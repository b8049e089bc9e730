//! Whatever strangers send, the fleet stays healthy.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use muster_tests::Fleet;

use super::guest::{Guest, token};

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

    /// Flips a bit of a packet, cuts its end off, or makes it as long as any packet can be.
    fn damage(&mut self, packet: &mut Vec<u8>) {
        let at = (self.next() as usize) % packet.len().max(1);
        match self.next() % 3 {
            0 => packet
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|byte| *byte ^= 0x10),
            1 => packet.truncate(at),
            _ => packet.extend(self.bytes(65_000_usize.saturating_sub(packet.len()))),
        }
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

#[test]
fn damaged_truncated_and_oversized_packets_only_delay_a_join() {
    let fleet = Fleet::start();
    let before = fleet.wait_whole();
    let seed = before.machine("db-1").address.clone().expect("joined");
    let relay = Relay::start(seed.parse().expect("an address"));
    let (token, _) = token(&fleet, &[]);
    let guest = Guest::join_at(&fleet, "guest", &relay.address.to_string(), &token);
    guest.wait_joined(&fleet, "guest");
    let (passed, damaged) = relay.counts();
    println!("{passed} packets passed, {damaged} were damaged");
    assert!(damaged > 0, "{passed} packets passed, and none was damaged");
    let after = fleet.wait_whole();
    for (name, id) in before.identities() {
        assert_eq!(after.machine(&name).machine_id, id);
    }
    assert!(fleet.events_of("replacing").is_empty());
}

/// Stands between a joiner and a machine, and spoils every third packet: a bit of it, its end, or its length.
struct Relay {
    address: SocketAddr,
    counts: Arc<[AtomicU32; 2]>,
    stop: Arc<AtomicBool>,
}

impl Relay {
    /// Runs until it is dropped. The first to send is the joiner.
    fn start(machine: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let pause = Some(Duration::from_millis(100));
        socket.set_read_timeout(pause).expect("a timeout");
        let address = socket.local_addr().expect("it is bound");
        let relay = Self {
            address,
            counts: Arc::default(),
            stop: Arc::default(),
        };
        let (counts, stop) = (Arc::clone(&relay.counts), Arc::clone(&relay.stop));
        thread::spawn(move || {
            let (mut buffer, mut noise, mut joiner) = (vec![0; 65_536], Noise(3), None);
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let to = if from == machine {
                    joiner
                } else {
                    joiner = Some(from);
                    Some(machine)
                };
                let mut packet = buffer[..length].to_vec();
                let is_damaged = noise.next().is_multiple_of(3);
                if is_damaged {
                    noise.damage(&mut packet);
                }
                counts[usize::from(is_damaged)].fetch_add(1, Ordering::Relaxed);
                if let Some(to) = to {
                    let _ = socket.send_to(&packet, to);
                }
            }
        });
        relay
    }

    /// How many packets passed as they were, and how many were damaged.
    fn counts(&self) -> (u32, u32) {
        let count = |at: usize| self.counts[at].load(Ordering::Relaxed);
        (count(0), count(1))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
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
