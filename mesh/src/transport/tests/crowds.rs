//! Many at once: a whole mesh that starts together, and more strangers than are served.

use std::net::UdpSocket;
use std::time::Duration;

use bytes::Bytes;
use quinn::{ConnectionError, VarInt};
use tokio::time::Instant;

use super::rogue::*;
use super::support::*;
use crate::transport::limits::{HANDSHAKES_RETRY, JOINERS_MAX};
use crate::transport::link::CloseCode;
use crate::transport::{ALPN_JOIN, config};

#[tokio::test]
async fn a_mesh_that_starts_at_one_moment_ends_with_one_connection_per_pair() {
    const NODES: u64 = 8;
    let cluster = Cluster::new(1);
    let mut nodes: Vec<Node> = (1..=NODES).map(|number| cluster.node(number)).collect();
    let peers: Vec<_> = nodes.iter().map(Node::peer).collect();
    for node in &nodes {
        for peer in peers.iter().filter(|peer| peer.machine != node.machine) {
            node.transport.send(*peer, Bytes::from_static(b"hello"));
        }
    }
    for node in &mut nodes {
        for _ in 1..NODES {
            node.next_datagram().await;
        }
    }
    eventually(|| {
        nodes
            .iter()
            .all(|node| node.transport.stats().connections == NODES - 1)
    })
    .await;
    for node in &mut nodes {
        let stats = node.transport.stats();
        assert!(stats.handshakes_out < NODES, "{stats:?}");
        assert_eq!((stats.connections_lost, stats.connections_evicted), (0, 0));
        assert!(node.inbound.try_recv().is_err(), "no evidence of any loss");
    }
}

/// Handshakes that somebody begins and does not go on with: their first packets, each from a client of its own.
async fn first_flights(cluster: &Cluster, count: usize) -> Vec<Vec<u8>> {
    let trap = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let rogue = Rogue::new();
    let addr = trap.local_addr().unwrap();
    let tls = anonymous(cluster, &[ALPN_JOIN]);
    let client = config::client(tls);
    let _dials: Vec<_> = (0..count)
        .map(|_| {
            let client = client.clone();
            rogue
                .endpoint
                .connect_with(client, addr, "x.invalid")
                .unwrap()
        })
        .collect();
    let mut packets = Vec::new();
    // The key agreement makes each first flight two packets long.
    while packets.len() < 2 * count {
        let mut packet = vec![0; 2000];
        let length = within(trap.recv(&mut packet)).await.unwrap();
        packet.truncate(length);
        packets.push(packet);
    }
    packets
}

#[tokio::test]
async fn under_load_newcomers_prove_their_address_and_still_get_in() {
    let cluster = Cluster::new(1);
    let mut node = cluster.node(1);
    let addr = node.transport.local_addr();
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    for packet in first_flights(&cluster, HANDSHAKES_RETRY + 8).await {
        flood.send_to(&packet, addr).unwrap();
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let began = Instant::now();
    let member = cluster.node(2);
    member.send(&node, "let me in");
    assert_eq!(node.next_datagram().await.1, "let me in");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "not after the flood"
    );
    assert!(node.transport.stats().handshakes_retried > 0);
}

#[tokio::test]
async fn only_so_many_strangers_are_served_at_once() {
    let cluster = Cluster::new(1);
    let node = cluster.node(1);
    let rogue = Rogue::new();
    let mut idle = Vec::new();
    for _ in 0..JOINERS_MAX {
        let tls = anonymous(&cluster, &[ALPN_JOIN]);
        idle.push(rogue.connect(&node, tls).await.unwrap());
    }
    let turned_away = rogue
        .connect(&node, anonymous(&cluster, &[ALPN_JOIN]))
        .await
        .unwrap();
    let closed = within(turned_away.closed()).await;
    let busy = VarInt::from_u32(CloseCode::Busy as u32);
    assert!(
        matches!(&closed, ConnectionError::ApplicationClosed(close) if close.error_code == busy),
        "{closed:?}"
    );
    // A place that is given up is free again.
    idle.pop().unwrap().close(0u32.into(), b"");
    let patient = async {
        loop {
            let tls = anonymous(&cluster, &[ALPN_JOIN]);
            let quic = rogue.connect(&node, tls).await.unwrap();
            let closed = tokio::time::timeout(Duration::from_millis(200), quic.closed());
            if closed.await.is_err() {
                return;
            }
        }
    };
    within(patient).await;
}
