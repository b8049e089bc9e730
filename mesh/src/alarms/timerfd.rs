//! The kernel's timer as a file descriptor, for the runtime to watch with its sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One timer of the kernel.
#[derive(Debug)]
pub(super) struct KernelTimer(AsyncFd<OwnedFd>);

impl KernelTimer {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        #[expect(
            deprecated,
            reason = "what takes its place is unsafe, for types that may change their descriptor; this one can't"
        )]
        let watched = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self(watched))
    }

    /// Sets it to go off once, so long from now; `None` for never.
    pub(super) fn set(&mut self, after: Option<Duration>) {
        // All zeros would switch it off.
        let after = after.map_or(Duration::ZERO, |after| after.max(Duration::from_nanos(1)));
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: after.subsec_nanos().into(),
            },
        };
        // Fails for a time that is no time or a descriptor that is no timer; neither can be.
        let _ = timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once);
    }

    /// Waits until it goes off. Setting it again says that this is known, so nothing is read from it.
    pub(super) async fn rings(&mut self) {
        match self.0.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            // The runtime is going away.
            Err(_) => std::future::pending().await,
        }
    }
}
