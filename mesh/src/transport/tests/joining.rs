//! Machines without a certificate.

use std::net::{SocketAddr, UdpSocket};

use bytes::Bytes;

use super::support::*;
use crate::pki::CaHash;
use crate::transport::joining::{JoinAttemptError, JoinError, join};
use crate::transport::{DialError, JOIN_FRAME_MAX, PeerIdentity, PeerRefusal, StreamKind};

fn request() -> Bytes {
    Bytes::from_static(b"token and key")
}

/// The one error of an attempt at one address.
fn only(result: Result<crate::transport::joining::Joined, JoinError>) -> JoinAttemptError {
    let mut attempts = result.unwrap_err().attempts;
    assert_eq!(attempts.len(), 1);
    attempts.remove(0).1
}

#[tokio::test]
async fn a_machine_with_the_right_pin_gets_its_answer() {
    let cluster = Cluster::new(1);
    let mut node = cluster.node(1);
    let addr = node.transport.local_addr();
    let served = async {
        let asked = node.next_request().await;
        assert_eq!(asked.from, PeerIdentity::Joiner);
        assert_eq!(asked.kind, StreamKind::JOIN);
        assert_eq!(asked.body, request());
        asked.responder.reply("welcome".into()).await.unwrap();
    };
    let addrs = [addr];
    let joining = join(&addrs, cluster.ca.hash(), request(), PATIENCE);
    let (joined, ()) = within(async { tokio::join!(joining, served) }).await;
    let joined = joined.unwrap();
    assert_eq!(joined.reply, "welcome");
    assert_eq!(joined.by, node.peer());
}

#[tokio::test]
async fn another_clusters_machine_is_told_nothing() {
    let (ours, theirs) = (Cluster::new(1), Cluster::new(2));
    let mut node = theirs.node(1);
    let addr = node.transport.local_addr();
    let error = only(within(join(&[addr], ours.ca.hash(), request(), PATIENCE)).await);
    assert_eq!(
        error,
        JoinAttemptError::Dial(DialError::Peer(PeerRefusal::WrongCa {
            found: theirs.ca.hash(),
            pinned: ours.ca.hash(),
        }))
    );
    assert!(error.to_string().contains("belongs to another cluster"));
    eventually(|| node.transport.stats().handshakes_in_failed == 1).await;
    assert!(node.inbound.try_recv().is_err());
}

#[tokio::test]
async fn after_a_refusal_the_next_address_is_tried() {
    let cluster = Cluster::new(1);
    let (mut one, two) = (cluster.node(1), cluster.node(2).echo());
    let addrs = [one.transport.local_addr(), two.peer.addr];
    let refusing = async {
        let asked = one.next_request().await;
        asked.responder.fail("not known here").await;
    };
    let joining = join(&addrs, cluster.ca.hash(), request(), PATIENCE);
    let (joined, ()) = within(async { tokio::join!(joining, refusing) }).await;
    assert_eq!(joined.unwrap().by, two.peer);
}

#[tokio::test]
async fn every_attempt_is_explained() {
    let cluster = Cluster::new(1);
    let mut node = cluster.node(1);
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let addrs = [closed, node.transport.local_addr()];
    let refusing = async {
        let asked = node.next_request().await;
        asked.responder.fail("the token has been used").await;
    };
    let joining = join(&addrs, cluster.ca.hash(), request(), PATIENCE);
    let (result, ()) = within(async { tokio::join!(joining, refusing) }).await;
    let error = result.unwrap_err();
    assert_eq!(
        error.attempts,
        [
            (addrs[0], JoinAttemptError::Dial(DialError::Refused)),
            (
                addrs[1],
                JoinAttemptError::Refused("the token has been used".into())
            ),
        ]
    );
    let text = error.to_string();
    assert!(
        text.contains("port closed") && text.contains("has been used"),
        "{text}"
    );
    let none = join(&[], cluster.ca.hash(), request(), PATIENCE).await;
    assert!(none.unwrap_err().to_string().contains("no address"));
}

#[tokio::test]
async fn something_else_at_the_port_is_recognized_as_such() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr: SocketAddr = silent.local_addr().unwrap();
    let patience = std::time::Duration::from_millis(400);
    let error = only(within(join(&[addr], CaHash([0; 32]), request(), patience)).await);
    assert_eq!(error, JoinAttemptError::Dial(DialError::TimedOut));
    let long = Bytes::from(vec![0; JOIN_FRAME_MAX + 1]);
    let error = only(join(&[addr], CaHash([0; 32]), long, patience).await);
    assert_eq!(error, JoinAttemptError::TooLong(JOIN_FRAME_MAX + 1));
}
