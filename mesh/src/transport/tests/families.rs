//! IPv4 and IPv6, also on one socket.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use bytes::Bytes;

use super::support::*;
use crate::clock::unix_ms;
use crate::identity::Peer;
use crate::transport::{Lost, PortAnswer, probe_port};

/// Whether this system has IPv6 at all; containers often do not.
fn has_ipv6() -> bool {
    let has = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        eprintln!("skip: no IPv6 here");
    }
    has
}

fn listening_on(cluster: &Cluster, number: u64, addr: Ipv6Addr) -> Node {
    let credentials = cluster.credentials_of(number, unix_ms());
    cluster.node_with(credentials, |config| config.listen = (addr, 0).into())
}

fn closed_port(ip: &str) -> SocketAddr {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn one_socket_serves_both_families() {
    if !has_ipv6() {
        return;
    }
    let cluster = Cluster::new(1);
    let mut both = listening_on(&cluster, 1, Ipv6Addr::UNSPECIFIED);
    let port = both.transport.local_addr().port();
    let (four, six) = (
        cluster.node(2),
        listening_on(&cluster, 3, Ipv6Addr::LOCALHOST),
    );
    for (node, ip) in [(&four, "127.0.0.1"), (&six, "::1")] {
        let to = Peer {
            machine: both.machine,
            addr: SocketAddr::new(ip.parse().unwrap(), port),
        };
        node.transport.send(to, Bytes::from_static(b"hello"));
        // IPv4 is reported as IPv4, as it is written in records.
        assert_eq!(both.next_datagram().await.0, node.peer());
        assert_eq!(
            within(probe_port(to.addr, PATIENCE)).await,
            PortAnswer::Answered
        );
    }
    for mut node in [four, six] {
        both.transport
            .send(node.peer(), Bytes::from_static(b"welcome"));
        assert_eq!(node.next_datagram().await.1, "welcome");
    }
    assert_eq!(both.transport.stats().handshakes_out, 0);
}

#[tokio::test]
async fn closed_ports_of_both_families_are_reported() {
    if !has_ipv6() {
        return;
    }
    let cluster = Cluster::new(1);
    let mut both = listening_on(&cluster, 1, Ipv6Addr::UNSPECIFIED);
    for (number, ip) in [(2, "127.0.0.1"), (3, "::1")] {
        let nobody = Peer {
            machine: machine(number),
            addr: closed_port(ip),
        };
        both.transport.send(nobody, Bytes::from_static(b"hello"));
        assert_eq!(both.next_lost().await, (nobody, Lost::Refused));
        assert_eq!(
            within(probe_port(nobody.addr, PATIENCE)).await,
            PortAnswer::Refused
        );
    }
}
