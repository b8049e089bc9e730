//! The two timers of a guard: one that wakes it, and one with which the kernel kills it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Kills this process at a moment, whatever state it is in then: the kernel keeps it.
pub(super) struct Executioner(Timer);

impl Executioner {
    /// A timer that is not set.
    pub(super) fn new() -> io::Result<Self> {
        let kill = SigevNotify::SigevSignal {
            signal: Signal::SIGKILL,
            si_value: 0,
        };
        Ok(Self(Timer::new(
            ClockId::CLOCK_BOOTTIME,
            SigEvent::new(kill),
        )?))
    }

    /// Sets it to so many milliseconds since the boot; what is past kills at once.
    pub(super) fn set(&mut self, at_ms: u64) -> io::Result<()> {
        let at = Duration::from_millis(at_ms.max(1)).into();
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
        Ok(self.0.set(Expiration::OneShot(at), flags)?)
    }
}

/// Wakes at a moment of the clock that counts since the boot.
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    #[expect(
        deprecated,
        reason = "unsound only for types that lie about their descriptor; OwnedFd doesn't"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self(AsyncFd::new(timer)?))
    }

    /// Sets it to so many milliseconds since the boot.
    pub(super) fn set(&self, at_ms: u64) -> io::Result<()> {
        let at = Duration::from_millis(at_ms.max(1));
        let it_value = Timespec::try_from(at).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        });
        let it_interval = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = Itimerspec {
            it_interval,
            it_value,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }

    /// Returns once its moment has come. Setting it anew while somebody waits is fine.
    pub(super) async fn rings(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            match rustix::io::read(self.0.get_ref(), &mut count) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
