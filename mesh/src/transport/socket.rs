//! The UDP socket under QUIC: counts what goes through, and reports what ICMP says about sent packets.

use std::fmt;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::limits::SOCKET_BUFFER;
use super::stats::Counters;

#[cfg(target_os = "linux")]
mod icmp;

/// Errors in a row that `recvmsg` may report before the socket counts as broken. Each ICMP error is reported once.
const RECEIVE_ERRORS_MAX: usize = 1024;

/// What ICMP said about packets to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IcmpError {
    /// Nobody listens on the port.
    PortClosed,
    /// There is no way to the host or network.
    NoRoute,
}

/// A socket for one endpoint.
pub(super) struct MeshSocket {
    /// Watched for packets and errors only. Were it watched for room to send in, each packet that has left would wake the
    /// process to say that there is room again.
    io: AsyncFd<UdpSocket>,
    state: UdpSocketState,
    receive_segments: usize,
    counters: Arc<Counters>,
}

impl MeshSocket {
    /// Binds, with buffers of a sane size and ICMP errors reported where the system can do that.
    pub(super) fn bind(addr: SocketAddr, counters: Arc<Counters>) -> io::Result<Self> {
        let io = UdpSocket::bind(addr)?;
        io.set_nonblocking(true)?;
        let state = UdpSocketState::new((&io).into())?;
        // Best effort: the system caps them, and smaller ones only lose packets in bursts.
        let _ = state.set_recv_buffer_size((&io).into(), SOCKET_BUFFER);
        let _ = state.set_send_buffer_size((&io).into(), SOCKET_BUFFER);
        #[cfg(target_os = "linux")]
        let receive_segments = icmp::prepare(&io, state.gro_segments());
        #[cfg(not(target_os = "linux"))]
        let receive_segments = state.gro_segments();
        #[expect(
            deprecated,
            reason = "what takes its place is unsafe, for types that may change their descriptor; this one can't"
        )]
        let io = AsyncFd::with_interest(io, Interest::READABLE | Interest::ERROR)?;
        Ok(Self {
            io,
            state,
            receive_segments,
            counters,
        })
    }

    /// Waits for the next ICMP error about a packet that was sent from here.
    #[cfg(target_os = "linux")]
    pub(super) async fn icmp_error(&self) -> (SocketAddr, IcmpError) {
        loop {
            let next = self.io.async_io(Interest::ERROR, icmp::take);
            match next.await {
                Ok(Some(error)) => {
                    self.counters.icmp_errors.inc();
                    return error;
                }
                Ok(None) => {}
                // The error queue cannot be read: do without, silence is noticed too.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Nothing is reported on this system; silence is noticed too.
    #[cfg(not(target_os = "linux"))]
    pub(super) async fn icmp_error(&self) -> (SocketAddr, IcmpError) {
        std::future::pending().await
    }
}

impl fmt::Debug for MeshSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshSocket")
            .field("io", &self.io)
            .finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for MeshSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    /// Never blocks and never fails: a packet that the kernel does not take is a lost packet, which QUIC is made
    /// for.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let send = || self.state.try_send(self.io.get_ref().into(), transmit);
        // An error may be about an earlier packet (ICMP): the second try is then about this one.
        match send().or_else(|error| match error.kind() {
            ErrorKind::WouldBlock => Err(error),
            _ => send(),
        }) {
            Ok(()) => {
                self.counters.packets_out.inc();
                self.counters.bytes_out.add(transmit.contents.len() as u64);
            }
            Err(error) => {
                self.counters.packets_unsent.inc();
                tracing::trace!(to = %transmit.destination, %error, "packet not sent");
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut errors = 0;
        loop {
            let mut ready = ready!(self.io.poll_read_ready(cx))?;
            match self.state.recv(self.io.get_ref().into(), bufs, meta) {
                Ok(count) => {
                    if count < bufs.len() {
                        // That was all. What comes from now on is reported anew, so there is no need to ask.
                        ready.clear_ready();
                    }
                    let bytes: usize = meta.iter().take(count).map(|meta| meta.len).sum();
                    self.counters.packets_in.add(count as u64);
                    self.counters.bytes_in.add(bytes as u64);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => {
                    errors += 1;
                    if errors > RECEIVE_ERRORS_MAX {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.get_ref().local_addr()
    }

    fn max_receive_segments(&self) -> usize {
        self.receive_segments
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// See [`MeshSocket::try_send`].
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
