//! The agent's side of a guard: starting one, finding the one of an earlier life, telling it how long.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::charge::{Charge, Ending, Place, Standing, this_boot};
use super::marked::Wanted;
use super::process::{GUARD_COMMAND, READY};

/// How long a guard may take until it says that it has begun.
const BEGIN: Duration = Duration::from_secs(5);

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Its files can't be used.
    #[error("the files of the lease in {directory}: {error}")]
    Files {
        /// Where they are.
        directory: String,
        /// What went wrong.
        error: io::Error,
    },
    /// It runs, and could not be told something.
    #[error("telling the lease's guard: {0}")]
    Told(io::Error),
    /// Its file can't be read, so that nobody knows what it left behind.
    #[error("{path}: {error}; whatever it left behind is stopped before anything is started")]
    Standing {
        /// The file.
        path: String,
        /// What is wrong with it.
        error: io::Error,
    },
    /// It could not be started, or ended before it began.
    #[error("starting the lease's guard: {0}")]
    Start(String),
}

impl GuardError {
    /// Whether a file makes no sense, and not only can't be read at this moment.
    pub fn is_damage(&self) -> bool {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        matches!(self, Self::Standing { error, .. } if matches!(error.kind(), InvalidData | UnexpectedEof))
    }
}

/// The guard in one directory, whether it runs or not.
#[derive(Debug, Clone)]
pub struct Guard(Place);

impl Guard {
    /// The guard whose files lie in `directory`.
    pub fn in_directory(directory: &Path) -> Self {
        Self(Place::new(directory))
    }

    /// Whether a guard runs, of this life of the agent or of an earlier one.
    ///
    /// # Errors
    /// When its lock can't be looked at.
    pub fn runs(&self) -> Result<bool, GuardError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.0.lock())
            .map_err(|error| self.files(error))?;
        // Shared: two who look at the same time must not take each other for a guard.
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(self.files(error.into())),
        }
    }

    /// What the guard's file says of this boot; `None` where there is none, or it is of an earlier boot.
    ///
    /// # Errors
    /// Where it can't be read, or makes no sense: then anything may be left.
    pub fn standing(&self) -> Result<Option<Standing>, GuardError> {
        let read = || {
            let standing = Standing::read(&self.0)?;
            let boot = this_boot()?;
            Ok(standing.filter(|standing| standing.boot == boot))
        };
        read().map_err(|error| GuardError::Standing {
            path: self.0.standing().display().to_string(),
            error,
        })
    }

    /// Whether a guard runs, or anything that carries its workload's mark, as far as that can be found out.
    pub fn may_run(&self) -> bool {
        let found = || Wanted::new(self.0.directory(), None).find();
        self.runs().unwrap_or(true) || found().map_or(true, |left| !left.pids.is_empty())
    }

    /// Whether there ever was a guard that nobody released.
    pub fn is_bound(&self) -> bool {
        self.0.standing().exists()
    }

    /// Whether the workload was stopped by a guard, and nothing was left of it, in this boot. What can't be read does not say
    /// so.
    pub fn has_stopped(&self) -> bool {
        let standing = self.standing().ok().flatten();
        standing.is_some_and(|standing| standing.ending == Ending::Stopped)
    }

    /// Starts a guard, and waits until it has begun. Another one must not run.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn start(&self, charge: &Charge) -> Result<(), GuardError> {
        let failed = |error: io::Error| GuardError::Start(error.to_string());
        let mut child = tokio::process::Command::new("/proc/self/exe")
            .arg(GUARD_COMMAND)
            .arg(self.0.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        // Whenever it ends, somebody has to ask for its exit code. How it ended says its file.
        tokio::spawn(async move { child.wait().await });
        let charge = serde_json::to_vec(charge).map_err(|error| failed(error.into()))?;
        let begin = async {
            if let Some(mut input) = input {
                input.write_all(&charge).await?;
                input.shutdown().await?;
            }
            let mut line = String::new();
            if let Some(output) = output {
                BufReader::new(output).read_line(&mut line).await?;
            }
            Ok::<_, io::Error>(line)
        };
        match tokio::time::timeout(BEGIN, begin).await {
            Ok(Ok(line)) if line.trim_end() == READY => Ok(()),
            Ok(Ok(_)) => Err(GuardError::Start(
                "it ended at once; the log says why".into(),
            )),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(GuardError::Start(format!(
                "it did not begin within {BEGIN:?}"
            ))),
        }
    }

    /// Lets the workload run until then, in milliseconds since the boot, and stops it so many milliseconds earlier.
    ///
    /// # Errors
    /// When the guard could not be told: it goes by what it heard before.
    pub fn extend(&self, until_ms: u64, stop_ms: u64) -> Result<(), GuardError> {
        self.tell(&format!("until {until_ms} {stop_ms}\n"))
    }

    /// Has the workload stopped now, if a guard runs.
    ///
    /// # Errors
    /// When it runs and could not be told: its workload goes on until its lease ends.
    pub fn stop(&self) -> Result<(), GuardError> {
        match self.tell("stop\n") {
            // It may have ended just now.
            Err(error) if self.runs()? => Err(error),
            _ => Ok(()),
        }
    }

    /// Lets the workload run without a lease. A guard that runs goes on as its parent, and forgets that there was one.
    ///
    /// # Errors
    /// When it could not be told, or the file of one that runs no more can't be removed.
    pub fn release(&self) -> Result<(), GuardError> {
        if self.runs()? {
            return self.tell("free\n");
        }
        match std::fs::remove_file(self.0.standing()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.files(error)),
            _ => Ok(()),
        }
    }

    /// What is not heard makes the lease end: that is safe, and has to show.
    fn tell(&self, words: &str) -> Result<(), GuardError> {
        // So few bytes are written whole or not at all; where nobody reads there is nothing to wait for.
        OpenOptions::new()
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(self.0.pipe())
            .and_then(|mut pipe| pipe.write_all(words.as_bytes()))
            .map_err(GuardError::Told)
    }

    fn files(&self, error: io::Error) -> GuardError {
        let directory = self.0.directory().display().to_string();
        GuardError::Files { directory, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::process::lock;

    #[test]
    fn who_looks_whether_a_guard_runs_is_taken_for_none() {
        let directory = tempfile::tempdir().expect("made");
        let guard = Guard::in_directory(directory.path());
        std::thread::scope(|scope| {
            let lookers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..2000).any(|_| guard.runs().expect("the lock can be looked at"))
                    })
                })
                .collect();
            for looker in lookers {
                assert!(!looker.join().expect("it looked"), "nobody runs");
            }
        });
        let held = std::thread::scope(|scope| {
            let looker = scope.spawn(|| {
                (0..2000)
                    .filter(|_| guard.runs().expect("looked at"))
                    .count()
            });
            let held = lock(&guard.0).expect("those who look are waited for");
            looker.join().expect("it looked");
            held
        });
        assert!(guard.runs().expect("looked at"));
        drop(held);
        assert!(!guard.runs().expect("looked at"));
    }

    #[test]
    fn a_file_that_can_not_be_read_says_nothing() {
        let directory = tempfile::tempdir().expect("made");
        let guard = Guard::in_directory(directory.path());
        assert_eq!(guard.standing().expect("there is none"), None);
        std::fs::write(guard.0.standing(), "{").expect("written");
        let error = guard.standing().expect_err("it makes no sense");
        assert!(
            error.is_damage() && error.to_string().contains("lease: "),
            "{error}"
        );
        assert!(guard.is_bound() && !guard.has_stopped());
        assert!(!guard.may_run(), "nothing carries its mark");
        std::fs::remove_file(guard.0.standing()).expect("removed");
        std::fs::create_dir(guard.0.standing()).expect("made");
        let error = guard.standing().expect_err("it can't be read");
        assert!(!error.is_damage(), "it may be read later: {error}");
    }

    #[test]
    fn a_guard_that_does_not_hear_is_an_error_and_one_that_is_gone_has_stopped() {
        let directory = tempfile::tempdir().expect("made");
        let guard = Guard::in_directory(directory.path());
        assert!(matches!(guard.extend(5, 1), Err(GuardError::Told(_))));
        guard.stop().expect("there is none");
        let held = lock(&guard.0).expect("locked");
        assert!(matches!(guard.stop(), Err(GuardError::Told(_))));
        assert!(matches!(guard.release(), Err(GuardError::Told(_))));
        drop(held);
    }
}
