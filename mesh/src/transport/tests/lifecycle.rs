//! Connections that come, go, cross, and make room for each other.

use std::net::UdpSocket;
use std::time::Duration;

use bytes::Bytes;

use tokio::time::Instant;

use super::support::*;
use crate::clock::unix_ms;
use crate::identity::Peer;
use crate::pki::LEAF_LIFETIME;
use crate::transport::{DialError, EndpointKeys, Lost, RequestError, StreamKind};

#[tokio::test]
async fn crossed_dials_end_in_one_connection() {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.node(1), cluster.node(2));
    one.send(&two, "from one");
    two.send(&one, "from two");
    one.next_datagram().await;
    two.next_datagram().await;
    eventually(|| {
        [&one, &two]
            .iter()
            .all(|node| node.transport.stats().connections == 1)
    })
    .await;
    // What is left is usable in both directions, without another handshake.
    let handshakes = one.transport.stats().handshakes_out;
    one.send(&two, "again");
    two.next_datagram().await;
    two.send(&one, "again");
    one.next_datagram().await;
    assert_eq!(one.transport.stats().handshakes_out, handshakes);
    assert!(one.inbound.try_recv().is_err(), "no evidence of any loss");
    assert!(two.inbound.try_recv().is_err(), "no evidence of any loss");
}

#[tokio::test]
async fn a_dead_peer_is_noticed_with_the_first_packet_to_it() {
    let cluster = Cluster::new(1);
    let mut one = cluster.node(1);
    let credentials = cluster.credentials_of(2, unix_ms());
    let mut two = Mortal::start(credentials, config(EndpointKeys::generate()));
    one.send(&two.node, "hello");
    two.node.next_datagram().await;
    let gone = two.node.peer();
    two.kill().await;
    let sent = Instant::now();
    one.transport.send(gone, Bytes::from_static(b"there?"));
    assert_eq!(one.next_lost().await, (gone, Lost::Refused));
    assert!(
        sent.elapsed() < Duration::from_secs(1),
        "{:?}",
        sent.elapsed()
    );
}

#[tokio::test]
async fn a_dial_to_a_closed_port_fails_at_once_and_is_followed_by_a_pause() {
    let cluster = Cluster::new(1);
    let mut one = cluster.node(1);
    let nobody = Peer {
        machine: machine(9),
        addr: UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap(),
    };
    one.transport.send(nobody, Bytes::from_static(b"a"));
    assert_eq!(one.next_lost().await, (nobody, Lost::Refused));
    // A storm of messages to a dead peer does not become a storm of handshakes.
    for _ in 0..1000 {
        one.transport.send(nobody, Bytes::from_static(b"b"));
    }
    let stats = one.transport.stats();
    assert_eq!(stats.handshakes_out_failed, 1);
    assert_eq!(stats.dials, 0);
    assert_eq!(stats.datagrams_dropped_unreachable, 1001);
    let asked = one
        .transport
        .request(nobody, StreamKind::API, Bytes::new(), PATIENCE);
    assert!(matches!(
        within(asked).await,
        Err(RequestError::Unreachable(DialError::Refused))
    ));
}

#[tokio::test]
async fn a_peer_that_shuts_down_says_so() {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.node(1), cluster.node(2));
    one.send(&two, "hello");
    two.next_datagram().await;
    let gone = two.peer();
    within(two.transport.close(PATIENCE)).await;
    assert_eq!(one.next_lost().await, (gone, Lost::Closed));
    eventually(|| one.transport.stats().connections == 0).await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes_everything() {
    let cluster = Cluster::new(1);
    let (mut one, mut two) = (cluster.node(1), cluster.node(2));
    one.send(&two, "hello");
    two.next_datagram().await;
    let gone = two.peer();
    drop(two);
    assert_eq!(one.next_lost().await, (gone, Lost::Closed));
    eventually(|| UdpSocket::bind(gone.addr).is_ok()).await;
}

#[tokio::test]
async fn the_least_recently_used_connection_makes_room() {
    let cluster = Cluster::new(1);
    let hub = cluster.node_with(cluster.credentials_of(1, unix_ms()), |config| {
        config.connections_max = 3;
    });
    let mut spokes: Vec<Node> = (2..=5).map(|number| cluster.node(number)).collect();
    hub.transport.keep_warm([spokes[0].peer()]);
    for spoke in &mut spokes {
        hub.transport
            .send(spoke.peer(), Bytes::from_static(b"hello"));
        spoke.next_datagram().await;
    }
    let stats = hub.transport.stats();
    assert_eq!((stats.connections, stats.connections_evicted), (3, 1));
    let connected = |node: &Node| hub.transport.rtt(node.machine).is_some();
    assert!(connected(&spokes[0]), "kept warm");
    assert!(!connected(&spokes[1]), "least recently used");
    // Making room is nobody's loss.
    eventually(|| spokes[1].transport.stats().connections == 0).await;
    assert!(spokes[1].inbound.try_recv().is_err());
}

#[tokio::test]
async fn warm_peers_are_connected_to_without_being_spoken_to() {
    let cluster = Cluster::new(1);
    let (one, two) = (cluster.node(1), cluster.node(2));
    one.transport.keep_warm([two.peer(), one.peer()]);
    eventually(|| two.transport.stats().connections == 1).await;
    one.transport.forget(two.machine);
    eventually(|| two.transport.stats().connections == 0).await;
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let cluster = Cluster::new(1);
    let mut one = cluster.node_with(cluster.credentials_of(1, unix_ms()), |config| {
        config.upkeep_interval = Duration::from_millis(500);
    });
    let credentials = cluster.credentials_of(2, unix_ms());
    let mut two = Mortal::start(credentials, config(EndpointKeys::generate()));
    one.send(&two.node, "hello");
    two.node.next_datagram().await;
    let frozen = two.node.peer();
    // Idle is not silent.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(one.inbound.try_recv().is_err());
    let _thaw = two.freeze().await;
    one.transport.send(frozen, Bytes::from_static(b"there?"));
    assert_eq!(one.next_lost().await, (frozen, Lost::TimedOut));
    assert_eq!(one.transport.stats().connections, 0);
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_it_was_made_with() {
    let cluster = Cluster::new(1);
    let one = cluster.node_with(cluster.credentials_of(1, unix_ms()), |config| {
        config.upkeep_interval = Duration::from_millis(200);
    });
    let lifetime = u64::try_from(LEAF_LIFETIME.as_millis()).unwrap();
    let expiring = cluster.credentials_of(2, unix_ms() - lifetime + 3000);
    let mut two = cluster.node_with(expiring, |_| {});
    two.send(&one, "hello");
    eventually(|| one.transport.stats().datagrams_in == 1).await;
    assert_eq!(one.transport.stats().connections, 1);
    eventually(|| one.transport.stats().connections == 0).await;
    eventually(|| two.transport.stats().connections == 0).await;
    assert!(two.inbound.try_recv().is_err(), "nobody is lost");
}

#[tokio::test]
async fn warm_connections_are_kept_warm_by_one_side_and_idle_ones_cost_nothing() {
    let cluster = Cluster::new(1);
    let brisk = |number| {
        cluster.node_with(cluster.credentials_of(number, unix_ms()), |config| {
            config.upkeep_interval = Duration::from_millis(500);
            config.idle_timeout = Duration::from_millis(800);
        })
    };
    let (one, mut two, mut three) = (brisk(1), brisk(2), brisk(3));
    one.send(&two, "hello");
    one.send(&three, "hello");
    two.next_datagram().await;
    three.next_datagram().await;
    one.transport.keep_warm([two.peer()]);
    let packets = |node: &Node| node.transport.stats().packets_in;
    // The handshake's last acknowledgements may take a while.
    let mut settled = 0;
    while settled != packets(&three) {
        settled = packets(&three);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let before = packets(&two);
    eventually(|| packets(&two) >= before + 3).await;
    assert_eq!(packets(&three), settled);
    assert!(
        two.inbound.try_recv().is_err(),
        "the agent sees nothing of it"
    );
}

#[tokio::test]
async fn finding_out_who_is_at_a_closed_port_fails_at_once() {
    let one = Cluster::new(1).node(1);
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let found = one.transport.identify(closed, PATIENCE);
    assert_eq!(within(found).await, Err(DialError::Refused));
    let me = one.transport.identify(one.transport.local_addr(), PATIENCE);
    assert_eq!(within(me).await, Err(DialError::Myself));
}

#[tokio::test]
async fn requests_that_wait_share_one_dial() {
    let cluster = Cluster::new(1);
    let (one, two) = (cluster.node(1), cluster.node(2).echo());
    let ask = || {
        one.transport.request(
            two.peer,
            StreamKind::API,
            Bytes::from_static(b"?"),
            PATIENCE,
        )
    };
    let answers = within(async { tokio::join!(ask(), ask(), ask(), ask()) }).await;
    assert_eq!(answers.0.unwrap(), "?");
    assert!(answers.1.is_ok() && answers.2.is_ok() && answers.3.is_ok());
    assert_eq!(one.transport.stats().handshakes_out, 1);
}
