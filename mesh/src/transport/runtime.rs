//! What QUIC runs on: tokio, but for its timers.

use std::future::Future;
use std::io;
use std::net::UdpSocket;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};

use crate::alarms::{Alarm, Alarms};

/// tokio, with [`Alarms`]. QUIC sets one with nearly every packet, and takes most of them back.
#[derive(Debug)]
pub(super) struct MeshRuntime(pub(super) Alarms);

impl Runtime for MeshRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let mut alarm = self.0.alarm();
        alarm.set(Some(at.into()));
        Box::pin(alarm)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

impl AsyncTimer for Alarm {
    fn reset(self: Pin<&mut Self>, at: Instant) {
        Alarm::set(self.get_mut(), Some(at.into()));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Alarm::poll(self.get_mut(), cx)
    }
}
