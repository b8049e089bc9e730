//! Is anybody at a port? A second path to a peer, beside its connection.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::shared::jitter;

/// What a port answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortAnswer {
    /// A live QUIC endpoint answered. Which machine's is not known.
    Answered,
    /// The host answered that nobody listens (ICMP port unreachable): the host is up, the agent is not.
    Refused,
    /// Nothing came back in time, or there is no way there. The host may be down, cut off, or behind a filter.
    Silent,
}

/// QUIC endpoints ignore smaller packets of unknown versions, lest they amplify (RFC 9000, section 5.2.2).
const PROBE_LEN: usize = 1200;

/// A version that is reserved for exercising version negotiation (RFC 9000, section 15).
const UNKNOWN_VERSION: u32 = 0x3a4a_5a6a;

const CONNECTION_ID_LEN: usize = 8;

/// Probes sent within the time-out, because one may be lost.
const PROBES: u32 = 3;

/// Asks whether a QUIC endpoint is alive at `addr`, without a handshake and without leaving state anywhere.
///
/// Sends a packet of a version that does not exist, from a fresh socket; every QUIC endpoint answers that with the
/// versions that it speaks. The socket is connected, so that the kernel reports a closed port.
pub async fn probe_port(addr: SocketAddr, within: Duration) -> PortAnswer {
    let any: IpAddr = match addr {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    probe_port_from(any, addr, within).await
}

/// The same from one of this machine's addresses, so that the probe takes the way that the agent's packets take.
pub(super) async fn probe_port_from(
    local: IpAddr,
    addr: SocketAddr,
    within: Duration,
) -> PortAnswer {
    let local = SocketAddr::new(local, 0);
    match timeout(within, probe(local, addr, within / PROBES)).await {
        Ok(answer) => answer,
        Err(_) => PortAnswer::Silent,
    }
}

async fn probe(local: SocketAddr, addr: SocketAddr, pause: Duration) -> PortAnswer {
    let Ok(socket) = UdpSocket::bind(local).await else {
        return PortAnswer::Silent;
    };
    if socket.connect(addr).await.is_err() {
        return PortAnswer::Silent;
    }
    let (probe, own_id) = packet();
    loop {
        match socket.send(&probe).await {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                return PortAnswer::Refused;
            }
            // No route, or a local filter. It may come back within the time-out.
            _ => {}
        }
        if let Ok(answer) = timeout(pause, answer(&socket, own_id)).await {
            return answer;
        }
    }
}

/// Waits for what the port says; anything but version negotiation for this very probe is ignored.
async fn answer(socket: &UdpSocket, own_id: [u8; CONNECTION_ID_LEN]) -> PortAnswer {
    let mut buffer = [0; 256];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) if is_negotiation(&buffer[..length], own_id) => {
                return PortAnswer::Answered;
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                return PortAnswer::Refused;
            }
            // Other ICMP errors say that packets do not get there: that is silence.
            Err(_) => std::future::pending().await,
        }
    }
}

/// A long-header packet of an unknown version, and the connection ID that the answer must carry.
fn packet() -> ([u8; PROBE_LEN], [u8; CONNECTION_ID_LEN]) {
    let mut packet = [0; PROBE_LEN];
    let (theirs, ours) = (jitter().to_le_bytes(), jitter().to_le_bytes());
    packet[0] = 0xc0;
    packet[1..5].copy_from_slice(&UNKNOWN_VERSION.to_be_bytes());
    packet[5] = CONNECTION_ID_LEN as u8;
    packet[6..14].copy_from_slice(&theirs);
    packet[14] = CONNECTION_ID_LEN as u8;
    packet[15..23].copy_from_slice(&ours);
    (packet, ours)
}

/// Whether this is version negotiation (version 0) addressed to our connection ID.
fn is_negotiation(packet: &[u8], own_id: [u8; CONNECTION_ID_LEN]) -> bool {
    packet.len() >= 14
        && packet[0] & 0x80 != 0
        && packet[1..5] == [0; 4]
        && usize::from(packet[5]) == CONNECTION_ID_LEN
        && packet[6..14] == own_id
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn foreign_packets_are_no_answer(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            // Eight random bytes would have to be guessed.
            prop_assert!(!is_negotiation(&packet, [0xa5; CONNECTION_ID_LEN]) || packet[6..14] == [0xa5; 8]);
        }
    }
}
