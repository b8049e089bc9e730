//! An agent that was killed and started again is reachable at once.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::support::*;
use crate::clock::unix_ms;
use crate::transport::{EndpointKeys, Lost, StreamKind, TransportConfig};

/// `one` is connected to `two`, which is then killed and started again on the same port.
async fn restart(before: EndpointKeys, after: EndpointKeys) -> (Node, Node) {
    let cluster = Cluster::new(1);
    let credentials = cluster.credentials_of(2, unix_ms());
    let one = cluster.node(1);
    let mut two = Mortal::start(credentials.clone(), config(before));
    one.send(&two.node, "hello");
    two.node.next_datagram().await;
    let addr = two.node.transport.local_addr();
    two.kill().await;
    let two = Node::start(credentials, TransportConfig::new(addr, after));
    (one, two)
}

/// What `one` learns within a second of sending on the connection that only it remembers.
async fn learned(one: &mut Node, two: &Node) -> Option<Lost> {
    one.send(two, "do you remember?");
    let lost = timeout(Duration::from_secs(1), one.next_lost()).await;
    lost.ok().map(|(_, how)| how)
}

#[tokio::test]
async fn with_both_keys_the_restart_is_known_at_once() {
    let keys = EndpointKeys::generate();
    let (mut one, two) = restart(keys.clone(), keys).await;
    assert_eq!(learned(&mut one, &two).await, Some(Lost::Reset));
    let began = Instant::now();
    let two = two.echo();
    let body = Bytes::from_static(b"?");
    let asked = one
        .transport
        .request(two.peer, StreamKind::API, body, PATIENCE);
    assert_eq!(within(asked).await.unwrap(), "?");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn without_either_key_the_peer_talks_into_a_void() {
    let (keys, others) = (EndpointKeys::generate(), EndpointKeys::generate());
    for after in [
        EndpointKeys::mixed(&keys, &others),
        EndpointKeys::mixed(&others, &keys),
    ] {
        let (mut one, two) = restart(keys.clone(), after).await;
        assert_eq!(learned(&mut one, &two).await, None);
    }
}

#[tokio::test]
async fn a_repeatable_request_survives_the_peers_restart() {
    let keys = EndpointKeys::generate();
    let (one, two) = restart(keys.clone(), keys).await;
    let two = two.echo();
    let body = Bytes::from_static(b"?");
    let asked = one
        .transport
        .request(two.peer, StreamKind::RECORDS, body, PATIENCE);
    assert_eq!(within(asked).await.unwrap(), "?");
}
