//! Datagrams and requests between two good members.

use std::time::Duration;

use bytes::Bytes;

use super::support::*;
use crate::clock::{boot_ms, unix_ms};
use crate::transport::{FRAME_MAX, PeerIdentity, RequestError, RespondError, StreamKind};

#[tokio::test]
async fn datagrams_arrive_with_the_authenticated_sender() {
    let cluster = Cluster::new(1);
    let (one, mut two) = (cluster.node(1), cluster.node(2));
    one.send(&two, "hello");
    let (from, bytes) = two.next_datagram().await;
    assert_eq!((from, &bytes[..]), (one.peer(), &b"hello"[..]));
    let mut one = one;
    two.send(&one, "welcome");
    let (from, bytes) = one.next_datagram().await;
    assert_eq!((from, &bytes[..]), (two.peer(), &b"welcome"[..]));
    // The second direction used the connection of the first.
    for node in [&one, &two] {
        assert_eq!(node.transport.stats().connections, 1);
    }
    assert!(one.transport.rtt(two.machine).is_some());
}

#[tokio::test]
async fn requests_are_answered_whatever_their_size() {
    let cluster = Cluster::new(1);
    let (one, two) = (cluster.node(1), cluster.node(2).echo());
    for size in [0, 1, 5000, 300_000, FRAME_MAX] {
        let body = Bytes::from(vec![7; size]);
        let answer =
            within(
                one.transport
                    .request(two.peer, StreamKind::RECORDS, body.clone(), PATIENCE),
            )
            .await;
        assert_eq!(answer.unwrap(), body);
    }
    let too_long = Bytes::from(vec![0; FRAME_MAX + 1]);
    let refused = one
        .transport
        .request(two.peer, StreamKind::RECORDS, too_long, PATIENCE)
        .await;
    assert_eq!(refused, Err(RequestError::TooLong(FRAME_MAX + 1)));
}

#[tokio::test]
async fn answers_stream_fail_and_break_off() {
    let cluster = Cluster::new(1);
    let (one, mut two) = (cluster.node(1), cluster.node(2));
    let to = two.peer();
    let served = tokio::spawn(async move {
        let mut first = two.next_request().await;
        assert_eq!(first.from, PeerIdentity::Machine(machine(1)));
        assert_eq!(first.kind, StreamKind::FOLLOW);
        for n in 0..3u8 {
            first.responder.send(Bytes::from(vec![n])).await.unwrap();
        }
        let over = Bytes::from(vec![0; FRAME_MAX + 1]);
        assert_eq!(
            first.responder.send(over).await,
            Err(RespondError::TooLong(FRAME_MAX + 1))
        );
        first.responder.fail("log truncated").await;
        drop(two.next_request().await);
        two
    });
    let transport = &one.transport;
    let mut frames = transport
        .stream(to, StreamKind::FOLLOW, Bytes::new(), PATIENCE)
        .await
        .unwrap();
    for n in 0..3u8 {
        assert_eq!(frames.next(PATIENCE).await.unwrap().unwrap(), vec![n]);
    }
    assert_eq!(
        frames.next(PATIENCE).await,
        Err(RequestError::Refused("log truncated".into()))
    );
    assert_eq!(frames.next(PATIENCE).await, Ok(None));
    let dropped = transport
        .request(to, StreamKind::FOLLOW, Bytes::new(), PATIENCE)
        .await;
    assert_eq!(dropped, Err(RequestError::NoAnswer));
    within(served).await.unwrap();
}

#[tokio::test]
async fn a_slow_answer_meets_the_deadline_and_the_responder_notices() {
    let cluster = Cluster::new(1);
    let (one, mut two) = (cluster.node(1), cluster.node(2));
    one.send(&two, "connect");
    two.next_datagram().await;
    let asked = one.transport.request(
        two.peer(),
        StreamKind::API,
        Bytes::new(),
        Duration::from_millis(300),
    );
    let (answer, mut request) = tokio::join!(asked, two.next_request());
    assert_eq!(answer, Err(RequestError::Deadline));
    within(request.responder.gone()).await;
}

#[tokio::test]
async fn a_peer_tells_when_this_computer_booted_by_its_clock() {
    let cluster = Cluster::new(1);
    let (one, two) = (cluster.node(1), cluster.node(2));
    let sample = within(one.transport.booted_by(two.peer(), PATIENCE))
        .await
        .unwrap();
    // Both clocks of this test are of the same computer; each is read to the millisecond.
    let booted_ms = i64::try_from(unix_ms()).unwrap() - i64::try_from(boot_ms()).unwrap();
    let apart_ms = sample.offset_ms.abs_diff(booted_ms);
    assert!(apart_ms <= sample.error_ms + 2, "{sample:?}, {booted_ms}");
}

#[tokio::test]
async fn a_machine_is_found_by_its_address() {
    let cluster = Cluster::new(1);
    let (one, mut two) = (cluster.node(1), cluster.node(2));
    let found = within(one.transport.identify(two.transport.local_addr(), PATIENCE)).await;
    assert_eq!(found.unwrap(), two.peer());
    one.send(&two, "hello");
    two.next_datagram().await;
    assert_eq!(one.transport.stats().connections, 1);
}

#[tokio::test]
async fn datagrams_that_nobody_could_receive_are_counted() {
    let cluster = Cluster::new(1);
    let (one, two) = (cluster.node(1), cluster.node(2));
    one.transport.send(two.peer(), Bytes::from(vec![0; 1101]));
    one.transport.send(two.peer(), Bytes::new());
    one.transport.send(one.peer(), Bytes::from_static(b"me"));
    let stats = one.transport.stats();
    assert_eq!(stats.datagrams_dropped_size, 2);
    assert_eq!(stats.datagrams_dropped_unreachable, 1);
    assert_eq!(stats.connections, 0);
}

#[tokio::test]
async fn an_agent_that_does_not_keep_up_loses_datagrams_but_no_requests() {
    let cluster = Cluster::new(1);
    let (one, mut two) = (cluster.node(1), cluster.node(2));
    let to = two.peer();
    one.send(&two, "connect");
    two.next_datagram().await;
    within(async {
        while two.transport.stats().datagrams_dropped_inbound == 0 {
            one.send(&two, "x");
            tokio::task::yield_now().await;
        }
    })
    .await;
    let asked = one
        .transport
        .request(to, StreamKind::API, Bytes::from_static(b"still"), PATIENCE);
    let served = async {
        eventually(|| two.transport.stats().requests_in == 1).await;
        let request = two.next_request().await;
        request.responder.reply(request.body).await.unwrap();
    };
    let (answer, ()) = tokio::join!(asked, served);
    assert_eq!(answer.unwrap(), "still");
}
