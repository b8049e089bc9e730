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
    /// It could not be started, or ended before it began.
    #[error("starting the lease's guard: {0}")]
    Start(String),
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
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(self.files(error.into())),
        }
    }

    /// What the guard's file says of this boot; `None` where there is none, or it is of an earlier boot.
    pub fn standing(&self) -> Option<Standing> {
        let bytes = std::fs::read(self.0.standing()).ok()?;
        let standing: Standing = serde_json::from_slice(&bytes).ok()?;
        (standing.boot == this_boot()).then_some(standing)
    }

    /// Whether there ever was a guard that nobody released.
    pub fn is_bound(&self) -> bool {
        self.0.standing().exists()
    }

    /// Whether the workload was stopped by a guard, and nothing was left of it, in this boot.
    pub fn has_stopped(&self) -> bool {
        self.standing()
            .is_some_and(|standing| standing.ending == Ending::Stopped)
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
    pub fn extend(&self, until_ms: u64, stop_ms: u64) {
        self.tell(&format!("until {until_ms} {stop_ms}\n"));
    }

    /// Has the workload stopped now.
    pub fn stop(&self) {
        self.tell("stop\n");
    }

    /// Lets the workload run without a lease. A guard that runs goes on as its parent, and forgets that there was one.
    ///
    /// # Errors
    /// When the guard's file can't be removed.
    pub fn release(&self) -> Result<(), GuardError> {
        if self.runs()? {
            self.tell("free\n");
            return Ok(());
        }
        match std::fs::remove_file(self.0.standing()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.files(error)),
            _ => Ok(()),
        }
    }

    /// What is not heard makes the lease end: that is safe, and shows.
    fn tell(&self, words: &str) {
        // So few bytes are written whole or not at all; where nobody reads there is nothing to wait for.
        let sent = OpenOptions::new()
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(self.0.pipe())
            .and_then(|mut pipe| pipe.write_all(words.as_bytes()));
        if let Err(error) = sent {
            tracing::warn!(%error, "the lease's guard was not told");
        }
    }

    fn files(&self, error: io::Error) -> GuardError {
        let directory = self.0.directory().display().to_string();
        GuardError::Files { directory, error }
    }
}
