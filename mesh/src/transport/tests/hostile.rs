//! Input that no agent sends.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ConnectionError, VarInt};

use super::rogue::*;
use super::support::*;
use crate::clock::unix_ms;
use crate::pki::crypto_provider;
use crate::transport::link::CloseCode;
use crate::transport::tls::Verdict;
use crate::transport::{
    ALPN, ALPN_JOIN, FRAME_MAX, JOIN_FRAME_MAX, RequestError, StreamKind, TransportStats, config,
    tls,
};

/// What a stream says in answer to these bytes; `None` when it is reset.
async fn say(quic: &quinn::Connection, bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut recv) = quic.open_bi().await.unwrap();
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    within(recv.read_to_end(1 << 20)).await.ok()
}

fn stats(node: &Node) -> TransportStats {
    node.transport.stats()
}

/// The node still works.
async fn alive(cluster: &Cluster, node: &mut Node) {
    let other = cluster.node(77);
    other.send(node, "still there?");
    assert_eq!(node.next_datagram().await.1, "still there?");
}

#[tokio::test]
async fn a_member_protocol_without_certificate_is_closed_at_once() {
    let cluster = Cluster::new(1);
    let mut node = cluster.node(1);
    // Even when it hides behind the joiners' protocol in the list of what it could speak.
    for protocols in [&[ALPN][..], &[ALPN, ALPN_JOIN]] {
        let quic = Rogue::new()
            .connect(&node, anonymous(&cluster, protocols))
            .await;
        let closed = match quic {
            Ok(quic) => within(quic.closed()).await,
            Err(error) => error,
        };
        let expected = VarInt::from_u32(CloseCode::NoCertificate as u32);
        assert!(
            matches!(&closed, ConnectionError::ApplicationClosed(close) if close.error_code == expected)
                || matches!(&closed, ConnectionError::TransportError(_)),
            "{closed:?}"
        );
    }
    assert_eq!(stats(&node).connections, 0);
    alive(&cluster, &mut node).await;
}

#[tokio::test]
async fn an_unknown_protocol_gets_no_connection() {
    let cluster = Cluster::new(1);
    let node = cluster.node(1);
    for protocols in [&[&b"h3"[..]][..], &[]] {
        let refused = Rogue::new()
            .connect(&node, anonymous(&cluster, protocols))
            .await;
        let closed = match refused {
            Ok(quic) => within(quic.closed()).await,
            Err(error) => error,
        };
        assert!(!matches!(closed, ConnectionError::TimedOut), "{closed:?}");
    }
    assert_eq!(stats(&node).connections, 0);
}

#[tokio::test]
async fn a_joiner_gets_one_request_of_one_kind() {
    let cluster = Cluster::new(1);
    let mut node = cluster.node(1);
    let rogue = Rogue::new();
    for frame in [
        &[8, 0, 0, 0, 0][..],         // another kind
        &[1, 0, 0x10, 0, 0],          // too long
        &[1, 0xff, 0xff, 0xff, 0xff], // absurdly long
        &[1, 0, 0],                   // cut off
        &[],                          // nothing
        &[1, 0, 0, 0, 1, b'x', b'y'], // more than declared
    ] {
        let quic = rogue
            .connect(&node, anonymous(&cluster, &[ALPN_JOIN]))
            .await
            .unwrap();
        let answer = say(&quic, frame).await.expect("a reason, not a reset");
        assert_eq!(answer[0], 1, "failed");
        // A second request is not looked at.
        let (mut send, mut recv) = quic.open_bi().await.unwrap();
        let _ = send.write_all(&[1, 0, 0, 0, 0]).await;
        let _ = send.finish();
        let second =
            tokio::time::timeout(std::time::Duration::from_millis(50), recv.read_to_end(100));
        assert!(second.await.is_err());
    }
    assert!(node.inbound.try_recv().is_err(), "the agent saw none of it");
    assert_eq!(stats(&node).requests_refused, 6);
    let quic = rogue
        .connect(&node, anonymous(&cluster, &[ALPN_JOIN]))
        .await
        .unwrap();
    assert!(quic.send_datagram(Bytes::from_static(b"gossip")).is_ok());
    alive(&cluster, &mut node).await;
}

#[tokio::test]
async fn a_members_malformed_requests_are_refused_one_by_one() {
    let cluster = Cluster::new(1);
    let mut node = cluster.node(1);
    let quic = Rogue::new()
        .connect(&node, member(&cluster, 2))
        .await
        .unwrap();
    let over = u32::try_from(FRAME_MAX + 1).unwrap().to_be_bytes();
    let mut garbage = vec![0xa5; 3000];
    garbage[1] = 0;
    for frame in [
        vec![],
        vec![3],
        vec![3, 0, 0, 0],
        vec![3, 0, 0, 0, 9, 1],
        [&[3][..], &over].concat(),
        vec![3, 0, 0, 0, 1, 1, 2],
        garbage,
    ] {
        let answer = say(&quic, &frame).await.expect("a reason, not a reset");
        assert_eq!(answer[0], 1, "failed");
    }
    assert!(node.inbound.try_recv().is_err());
    // The connection is still good for a proper request.
    let asked = say(&quic, &[200, 0, 0, 0, 2, b'h', b'i']);
    let served = async {
        let request = node.next_request().await;
        assert_eq!(request.kind, StreamKind(200));
        request.responder.reply(request.body).await.unwrap();
    };
    let (answer, ()) = tokio::join!(asked, served);
    assert_eq!(answer.unwrap(), [&[0, 0, 0, 0, 2][..], b"hi"].concat());
}

#[tokio::test]
async fn datagrams_that_are_too_long_or_empty_do_not_reach_the_agent() {
    let cluster = Cluster::new(1);
    let mut node = cluster.node(1);
    let quic = Rogue::new()
        .connect(&node, member(&cluster, 2))
        .await
        .unwrap();
    let longest = quic.max_datagram_size().unwrap();
    assert!(longest > 1100, "{longest}");
    quic.send_datagram(Bytes::from(vec![1; longest])).unwrap();
    quic.send_datagram(Bytes::new()).unwrap();
    quic.send_datagram(Bytes::from_static(b"good")).unwrap();
    assert_eq!(node.next_datagram().await.1, "good");
    assert_eq!(stats(&node).datagrams_dropped_inbound, 1);
}

#[tokio::test]
async fn garbage_on_the_port_changes_nothing() {
    let cluster = Cluster::new(1);
    let mut node = cluster.node(1);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = node.transport.local_addr();
    for length in [0, 1, 5, 20, 21, 100, 1199, 1200, 1472, 9000] {
        for first in [0x00, 0x40, 0x7f, 0xc0, 0xc3, 0xff] {
            let mut packet = vec![0x5a; length];
            if let Some(byte) = packet.first_mut() {
                *byte = first;
            }
            if length > 5 {
                packet[1..5].copy_from_slice(&1u32.to_be_bytes());
            }
            socket.send_to(&packet, addr).unwrap();
        }
    }
    alive(&cluster, &mut node).await;
    assert_eq!(stats(&node).connections, 1);
}

#[tokio::test]
async fn garbled_answers_are_errors_and_no_more() {
    let cluster = Cluster::new(1);
    let one = cluster.node(1);
    // A listening endpoint with a member's certificate that answers as it likes.
    let credentials = cluster.credentials_of(2, unix_ms());
    let trust = crate::pki::ClusterTrust::new(cluster.ca.certificate()).unwrap();
    let (_revoked, watched) = tokio::sync::watch::channel(Arc::default());
    let listener = tls::listener(credentials.keys(), &trust, watched).unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    let rogue = quinn::Endpoint::server(config::server(listener), addr).unwrap();
    let peer = crate::identity::Peer {
        machine: machine(2),
        addr: rogue.local_addr().unwrap(),
    };
    type Expected = fn(&RequestError) -> bool;
    let answers: [(&[u8], Expected); 6] = [
        (&[], |error| matches!(error, RequestError::NoAnswer)),
        (&[0, 0], |error| matches!(error, RequestError::Malformed(_))),
        (&[9, 0, 0, 0, 0], |error| {
            matches!(error, RequestError::Malformed(_))
        }),
        (&[0, 0xff, 0, 0, 0], |error| {
            matches!(error, RequestError::Malformed(_))
        }),
        (&[0, 0, 0, 0, 1, 7, 7], |error| {
            matches!(error, RequestError::Malformed(_))
        }),
        (&[1, 0, 0, 0, 2, b'n', b'o'], |error| {
            *error == RequestError::Refused("no".into())
        }),
    ];
    let serving = async {
        let quic = rogue.accept().await.unwrap().await.unwrap();
        for (answer, _) in &answers {
            let (mut send, mut recv) = quic.accept_bi().await.unwrap();
            let _ = recv.read_to_end(100).await;
            send.write_all(answer).await.unwrap();
            send.finish().unwrap();
        }
        quic
    };
    let asking = async {
        for (answer, expected) in &answers {
            let result = one
                .transport
                .request(peer, StreamKind::API, Bytes::new(), PATIENCE)
                .await;
            let error = result.unwrap_err();
            assert!(expected(&error), "{answer:?}: {error:?}");
        }
    };
    within(async { tokio::join!(serving, asking) }).await;
}

#[tokio::test]
async fn nothing_is_resumed_and_nothing_is_early() {
    let cluster = Cluster::new(1);
    let node = cluster.node(1);
    let mut tls = member(&cluster, 2);
    tls.resumption = rustls::client::Resumption::in_memory_sessions(16);
    tls.enable_early_data = true;
    let crypto = Arc::new(QuicClientConfig::try_from(tls).unwrap());
    let client = quinn::ClientConfig::new(crypto);
    let rogue = Rogue::new();
    for _ in 0..2 {
        let connecting = rogue
            .endpoint
            .connect_with(
                client.clone(),
                node.transport.local_addr(),
                "any.mesh.invalid",
            )
            .unwrap();
        let Err(connecting) = connecting.into_0rtt() else {
            panic!("early data must not be possible");
        };
        let quic = within(connecting).await.unwrap();
        quic.send_datagram(Bytes::from_static(b"x")).unwrap();
        eventually(|| stats(&node).datagrams_in > 0).await;
        quic.close(0u32.into(), b"");
    }
    // And our own dialling side does not even remember sessions.
    let own = tls::joiner(cluster.ca.hash(), Verdict::default()).unwrap();
    assert!(!own.enable_early_data);
    assert!(format!("{:?}", own.resumption).contains("NoClientSessionStorage"));
}

#[tokio::test]
async fn key_agreement_is_post_quantum_and_tls_is_1_3() {
    let provider = crypto_provider();
    assert_eq!(
        provider.kx_groups[0].name(),
        rustls::NamedGroup::X25519MLKEM768
    );
    assert!(
        provider
            .cipher_suites
            .iter()
            .all(|suite| suite.tls13().is_some())
    );
    const { assert!(JOIN_FRAME_MAX < FRAME_MAX) };
}
