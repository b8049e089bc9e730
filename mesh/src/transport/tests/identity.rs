//! Who is let in, and who is not.

use std::sync::Arc;

use bytes::Bytes;

use super::support::*;
use crate::clock::unix_ms;
use crate::identity::Peer;
use crate::pki::VerifyError;
use crate::transport::{
    DialError, Inbound, Lost, OperatorClient, PeerIdentity, PeerRefusal, RequestError, StreamKind,
};

const DAY_MS: u64 = 24 * 3_600_000;

async fn ask(node: &Node, to: Peer) -> Result<Bytes, RequestError> {
    within(
        node.transport
            .request(to, StreamKind::API, Bytes::from_static(b"?"), PATIENCE),
    )
    .await
}

#[tokio::test]
async fn another_cluster_is_refused_by_both_sides() {
    let (ours, theirs) = (Cluster::new(1), Cluster::new(2));
    let (one, stranger) = (ours.node(1), theirs.node(2));
    let refused = ask(&one, stranger.peer()).await;
    assert!(
        matches!(
            &refused,
            Err(RequestError::Unreachable(DialError::Peer(PeerRefusal::Certificate(
                VerifyError::UnknownIssuer { cluster: Some(cluster) }
            )))) if cluster.get() == 2
        ),
        "{refused:?}"
    );
    assert_eq!(stranger.transport.stats().connections, 0);
    eventually(|| stranger.transport.stats().handshakes_in_failed == 1).await;
}

#[tokio::test]
async fn an_expired_machine_is_refused_by_both_sides() {
    let cluster = Cluster::new(1);
    let expired = cluster.credentials_of(2, unix_ms() - 2 * DAY_MS);
    let (mut one, mut two) = (cluster.node(1), cluster.node_with(expired, |_| {}));
    let dialled = ask(&one, two.peer()).await;
    assert_eq!(
        dialled,
        Err(RequestError::Unreachable(DialError::Peer(
            PeerRefusal::Certificate(VerifyError::Expired)
        )))
    );
    assert_eq!(one.next_lost().await, (two.peer(), Lost::Rejected));
    // The other way round: the dialling side learns it from the TLS alert, after its own handshake.
    let dialling = ask(&two, one.peer()).await;
    assert!(
        matches!(&dialling, Err(RequestError::Unreachable(DialError::NotAccepted(why))) if why.contains("expired")),
        "{dialling:?}"
    );
    assert_eq!(two.next_lost().await, (one.peer(), Lost::Rejected));
    assert_eq!(one.transport.stats().connections, 0);
}

#[tokio::test]
async fn a_revoked_machine_loses_its_connections_and_gets_no_new_ones() {
    let cluster = Cluster::new(1);
    let (one, mut two) = (cluster.node(1), cluster.node(2));
    one.send(&two, "hello");
    two.next_datagram().await;
    one.revoke(2);
    assert_eq!(two.next_lost().await, (one.peer(), Lost::Rejected));
    eventually(|| one.transport.stats().connections == 0).await;
    // Not by dialling it, and not by being dialled.
    assert_eq!(
        ask(&one, two.peer()).await,
        Err(RequestError::Unreachable(DialError::Revoked))
    );
    let before = one.transport.stats();
    let dialling = ask(&two, one.peer()).await;
    assert!(
        matches!(&dialling, Err(RequestError::Unreachable(DialError::NotAccepted(why))) if why == "revoked"),
        "{dialling:?}"
    );
    // The handshake itself fails; it is not closed only afterwards.
    eventually(|| one.transport.stats().handshakes_in_failed > before.handshakes_in_failed).await;
    assert_eq!(one.transport.stats().handshakes_in, before.handshakes_in);
}

#[tokio::test]
async fn a_revoked_machine_that_listens_under_another_id_is_refused_too() {
    let cluster = Cluster::new(1);
    let (one, two) = (cluster.node(1), cluster.node(2));
    one.revoke(2);
    let found = within(one.transport.identify(two.transport.local_addr(), PATIENCE)).await;
    assert_eq!(
        found,
        Err(DialError::Peer(PeerRefusal::Certificate(
            VerifyError::Revoked
        )))
    );
}

#[tokio::test]
async fn another_machine_at_the_address_is_noticed() {
    let cluster = Cluster::new(1);
    let (one, two) = (cluster.node(1), cluster.node(2));
    let mistaken = Peer {
        machine: machine(3),
        ..two.peer()
    };
    assert_eq!(
        ask(&one, mistaken).await,
        Err(RequestError::Unreachable(DialError::Peer(
            PeerRefusal::WrongMachine {
                found: machine(2),
                expected: machine(3)
            }
        )))
    );
}

#[tokio::test]
async fn renewed_credentials_are_used_from_then_on() {
    let cluster = Cluster::new(1);
    let expired = cluster.credentials_of(2, unix_ms() - 2 * DAY_MS);
    let (one, two) = (cluster.node(1), cluster.node_with(expired, |_| {}));
    assert!(ask(&one, two.peer()).await.is_err());
    two.credentials
        .send_replace(Arc::new(cluster.credentials_of(2, unix_ms())));
    let two = two.echo();
    assert_eq!(ask(&one, two.peer).await.unwrap(), "?");
    let back = within(two.transport.booted_by(one.peer(), PATIENCE)).await;
    assert!(back.is_ok(), "{back:?}");
}

#[tokio::test]
async fn an_operator_asks_the_api_and_nothing_else() {
    let cluster = Cluster::new(1);
    let mut node = cluster.node(1);
    let alice = cluster.operator("alice");
    let addr = node.transport.local_addr();
    let client = within(OperatorClient::connect(addr, &alice, PATIENCE))
        .await
        .unwrap();
    assert_eq!(client.node(), node.peer());
    let asked = client.request(StreamKind::API, Bytes::from_static(b"status"), PATIENCE);
    let served = async {
        let request = node.next_request().await;
        assert_eq!(request.from, PeerIdentity::Operator("alice".into()));
        request.responder.reply(request.body).await.unwrap();
    };
    let (answer, ()) = tokio::join!(asked, served);
    assert_eq!(answer.unwrap(), "status");
    for kind in [StreamKind::CONSENSUS, StreamKind::JOIN, StreamKind::CA_KEY] {
        let refused = within(client.request(kind, Bytes::new(), PATIENCE)).await;
        assert!(
            matches!(&refused, Err(RequestError::Refused(why)) if why.contains("may not")),
            "{refused:?}"
        );
    }
    // Revoked, she is thrown out and not let in again.
    node.revoked.send_modify(|revoked| {
        Arc::make_mut(revoked).operators.insert("alice".into());
    });
    let out = within(client.request(StreamKind::API, Bytes::new(), PATIENCE)).await;
    assert!(out.is_err());
    client.close().await;
    let again = within(OperatorClient::connect(addr, &alice, PATIENCE)).await;
    if let Ok(client) = again {
        let refused = within(client.request(StreamKind::API, Bytes::new(), PATIENCE)).await;
        assert!(
            matches!(&refused, Err(RequestError::Unreachable(DialError::NotAccepted(why))) if why == "revoked"),
            "{refused:?}"
        );
    }
    assert!(!matches!(node.inbound.try_recv(), Ok(Inbound::Request(_))));
}

#[tokio::test]
async fn a_machine_may_not_pose_as_a_joiner() {
    let cluster = Cluster::new(1);
    let (one, two) = (cluster.node(1), cluster.node(2));
    let refused =
        within(
            one.transport
                .request(two.peer(), StreamKind::JOIN, Bytes::new(), PATIENCE),
        )
        .await;
    assert!(
        matches!(refused, Err(RequestError::Refused(_))),
        "{refused:?}"
    );
}
