//! The runtime's own timer, where the kernel's cannot be watched like a socket.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// When it goes off.
#[derive(Debug)]
pub(super) struct KernelTimer(Option<Instant>);

impl KernelTimer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(None))
    }

    /// Sets it to go off once, so long from now; `None` for never.
    pub(super) fn set(&mut self, after: Option<Duration>) {
        self.0 = after.and_then(|after| Instant::now().checked_add(after));
    }

    /// Waits until it goes off.
    pub(super) async fn rings(&mut self) {
        match self.0 {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}
