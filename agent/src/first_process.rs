//! The first process of a container, or of any process namespace: it runs the same command as its child, and does for all
//! others what an operating system expects of the first one.
//!
//! The kernel hands it every process whose parent has ended, and such processes stay as zombies until somebody asks how they
//! ended. The agent itself can't: it would take away the ends of processes that its own parts wait for. The kernel also
//! kills the first process by no signal that it has no handler for; so signals are handed on to the child, which has.
//! When the child ends, this ends with the same code, and the kernel ends all that is left.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// The signals by which people and supervisors talk to a program.
const HANDED_ON: [(SignalKind, Signal); 6] = [
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];
/// What shells add to the number of the signal that ended a program.
const BY_SIGNAL: i32 = 128;

/// Whether this process is the first of its namespace.
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// Runs the command that this process was started with as its child, until that ends; gives what it ended with.
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime.and_then(|runtime| runtime.block_on(attend())) {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            eprintln!("muster: as the first process: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn attend() -> io::Result<ExitStatus> {
    // Before there is a child, so that neither its end nor a signal to it is missed.
    let mut ends = signal(SignalKind::child())?;
    let mut signals = Vec::new();
    for (kind, signal_number) in HANDED_ON {
        signals.push((signal(kind)?, signal_number));
    }
    let child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .spawn()?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let child = child.ok_or_else(|| io::Error::other("the child has no number"))?;
    loop {
        tokio::select! {
            _ = ends.recv() => {
                if let Some(status) = reap(child)? {
                    return Ok(status);
                }
            }
            number = next(&mut signals) => {
                // It may have ended a moment ago, which shows next.
                let _ = kill_process(child, number);
            }
        }
    }
}

/// The next signal that is to be handed on.
async fn next(signals: &mut [(Listener, Signal)]) -> Signal {
    let each = signals.iter_mut().map(|(listener, number)| {
        let number = *number;
        Box::pin(async move {
            listener.recv().await;
            number
        })
    });
    futures::future::select_all(each).await.0
}

/// Takes the ends of all processes that have ended; gives the child's if it is among them.
fn reap(child: Pid) -> io::Result<Option<ExitStatus>> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => {
                return Ok(Some(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What a shell would say that a program ended with.
fn code(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| BY_SIGNAL + signal);
    let code = status.code().or(signal);
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_the_childs() {
        assert_eq!(code(ExitStatus::from_raw(0)), 0);
        assert_eq!(code(ExitStatus::from_raw(64 << 8)), 64);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }
}
