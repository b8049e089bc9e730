//! ICMP errors on an unconnected socket, by way of Linux' error queue.
//!
//! Without `IP_RECVERR` the kernel tells an unconnected socket nothing. With it, each ICMP error about a sent packet
//! is queued with the address that the packet went to. So an agent learns of a peer's death from its first packet to
//! it, instead of from its silence.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};

use super::IcmpError;

/// Room for what comes with an error: the error itself (48 bytes for IPv4, 64 for IPv6), and the addresses and traffic
/// class that quinn asks for with every packet.
const CONTROL_LEN: usize = 256;

/// Turns error reports on, and receive offload off. Gives how many packets one read may hold.
///
/// Offload would make quinn reserve 64 times the memory for reads, for packets that come one by one here.
pub(super) fn prepare(socket: &UdpSocket, segments: usize) -> usize {
    // Best effort: on a kernel without them, errors are not reported and offload stays on.
    let _ = setsockopt(socket, sockopt::Ipv4RecvErr, &true);
    if socket.local_addr().is_ok_and(|addr| addr.is_ipv6()) {
        let _ = setsockopt(socket, sockopt::Ipv6RecvErr, &true);
    }
    match setsockopt(socket, sockopt::UdpGroSegment, &false) {
        Ok(()) => 1,
        Err(_) => segments,
    }
}

/// Takes one error off the queue; `None` for one that says nothing about a peer (a packet too big, say).
pub(super) fn take(socket: &UdpSocket) -> io::Result<Option<(SocketAddr, IcmpError)>> {
    let mut control = nix::cmsg_space!([u8; CONTROL_LEN]);
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut [],
        Some(&mut control),
        MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT,
    )?;
    let Some(to) = message.address.as_ref().and_then(socket_addr) else {
        return Ok(None);
    };
    let Ok(mut controls) = message.cmsgs() else {
        return Ok(None); // cut short
    };
    let kind = controls.find_map(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, _) => classify(error.ee_errno),
        ControlMessageOwned::Ipv6RecvErr(error, _) => classify(error.ee_errno),
        _ => None,
    });
    Ok(kind.map(|kind| (to, kind)))
}

fn classify(errno: u32) -> Option<IcmpError> {
    match Errno::from_raw(i32::try_from(errno).ok()?) {
        Errno::ECONNREFUSED => Some(IcmpError::PortClosed),
        Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EHOSTDOWN => Some(IcmpError::NoRoute),
        _ => None,
    }
}

fn socket_addr(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    let v6 = storage.as_sockaddr_in6()?;
    Some(SocketAddr::new(v6.ip().to_canonical(), v6.port()))
}
