//! All that a port can answer to a probe.

use std::net::UdpSocket;
use std::time::Duration;

use super::support::*;
use crate::clock::unix_ms;
use crate::transport::{PortAnswer, probe_port};

#[tokio::test]
async fn a_live_endpoint_answers() {
    let node = Cluster::new(1).node(1);
    let answer = within(probe_port(node.transport.local_addr(), PATIENCE)).await;
    assert_eq!(answer, PortAnswer::Answered);
    let stats = node.transport.stats();
    assert_eq!((stats.handshakes_in, stats.connections), (0, 0));
}

#[tokio::test]
async fn a_transport_probes_from_the_address_it_listens_on() {
    let cluster = Cluster::new(1);
    let prober = cluster.node_with(cluster.credentials_of(1, unix_ms()), |config| {
        config.listen = ([127, 0, 0, 7], 0).into();
    });
    let mute = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = mute.local_addr().unwrap();
    let mut buffer = [0; 2000];
    let probing = prober
        .transport
        .probe_port(addr, Duration::from_millis(100));
    let (answer, asked) =
        within(async { tokio::join!(probing, mute.recv_from(&mut buffer)) }).await;
    assert_eq!(answer, PortAnswer::Silent);
    let from = asked.unwrap().1;
    assert_eq!(from.ip().to_string(), "127.0.0.7");
    assert_ne!(from.port(), prober.transport.local_addr().port());
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = closed.local_addr().unwrap();
    drop(closed);
    assert_eq!(
        within(probe_port(addr, PATIENCE)).await,
        PortAnswer::Refused
    );
}

#[tokio::test]
async fn a_port_where_nobody_reads_is_silent() {
    let mute = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = mute.local_addr().unwrap();
    let answer = probe_port(addr, Duration::from_millis(1500)).await;
    assert_eq!(answer, PortAnswer::Silent);
    // It was asked more than once, in case one packet was lost.
    mute.set_nonblocking(true).unwrap();
    let mut buffer = [0; 2000];
    for _ in 0..2 {
        assert_eq!(mute.recv(&mut buffer).unwrap(), 1200);
    }
}

#[tokio::test]
async fn an_answer_to_somebody_else_is_none() {
    let liar = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = liar.local_addr().unwrap();
    let lying = async {
        let mut buffer = [0; 2000];
        loop {
            let (_, from) = liar.recv_from(&mut buffer).await.unwrap();
            let mut forged = vec![0x80, 0, 0, 0, 0, 8];
            forged.extend_from_slice(&[1; 8]);
            forged.extend_from_slice(&[0; 20]);
            liar.send_to(&forged, from).await.unwrap();
        }
    };
    tokio::select! {
        answer = probe_port(addr, Duration::from_millis(200)) => {
            assert_eq!(answer, PortAnswer::Silent);
        }
        () = lying => {}
    }
}
