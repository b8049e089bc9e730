//! A server that the agent keeps running on its machine: where its data lies, which process it is, and whether it came up.
//!
//! All of it is in files beside the data, so that it outlives the agent, and the machine where the data is on a pet's disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_provisioners::Deadline;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{FlavorError, Workload};

/// How often it is looked whether a process that was told to end has.
const ENDING_PERIOD: Duration = Duration::from_millis(50);

/// A server's place on its machine.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    what: &'static str,
    data: PathBuf,
}

impl Server {
    /// The server `what` whose data is in the directory `data`, below the workload's own where it is relative.
    pub(crate) fn new(what: &'static str, workload: &Workload, data: &str) -> Self {
        let base = workload.directory.as_deref().unwrap_or(Path::new("."));
        Self {
            what,
            data: base.join(data),
        }
    }

    /// The directory of its data.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Whether there is anything in it.
    ///
    /// # Errors
    /// When that can't be found out: then nothing must be founded there.
    pub(crate) fn has_data(&self) -> Result<bool, FlavorError> {
        match fs::read_dir(&self.data) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed("looking at its data", &self.data, &error)),
        }
    }

    /// A file beside the data.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.data.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(ending);
        self.data.with_file_name(name)
    }

    /// How often it was started since it last was at work.
    pub(crate) fn vain_starts(&self) -> u32 {
        let text = fs::read_to_string(self.beside("starts")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// It is at work.
    pub(crate) fn came_up(&self) {
        // Where it can't be removed, the next start in vain counts one too many: that needs others at work to matter.
        let _ = fs::remove_file(self.beside("starts"));
    }

    /// This process is about to become the server.
    ///
    /// # Errors
    /// When that can't be written down: then nobody could end it.
    pub(crate) fn begins(&self) -> Result<(), FlavorError> {
        let pid = std::process::id();
        let begun = begun(pid).unwrap_or_default();
        self.write("starts", &(self.vain_starts() + 1).to_string())?;
        self.write("pid", &format!("{pid} {begun}"))
    }

    /// Writes a file beside the data, whole or not at all.
    pub(crate) fn write(&self, ending: &str, text: &str) -> Result<(), FlavorError> {
        let (path, new) = (self.beside(ending), self.beside("new"));
        let written = self
            .data
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| self.failed("writing", &path, &error))
    }

    /// Where a file beside the data is.
    pub(crate) fn path(&self, ending: &str) -> PathBuf {
        self.beside(ending)
    }

    /// Makes the directory of its data, which only its own user may read.
    pub(crate) fn make(&self) -> Result<(), FlavorError> {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&self.data);
        made.map_err(|error| self.failed("making", &self.data, &error))
    }

    /// Puts its data aside, in place of what was put aside before. Where there is none, that stays.
    ///
    /// # Errors
    /// When it is still there.
    pub(crate) fn put_aside(&self) -> Result<(), FlavorError> {
        if !self.has_data()? {
            return Ok(());
        }
        let aside = self.beside("aside");
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.failed("removing", &aside, &error));
            }
            _ => {}
        }
        match fs::rename(&self.data, &aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("putting aside", &self.data, &error))
            }
            _ => {
                self.came_up();
                Ok(())
            }
        }
    }

    /// Tells the server to end, and waits until it has.
    ///
    /// # Errors
    /// If it runs on.
    pub(crate) async fn end(&self, deadline: Deadline) -> Result<(), FlavorError> {
        let what = format!("stopping {}", self.what);
        let Some(pid) = self.process() else {
            return Ok(());
        };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(());
        };
        // The number may have been given to another process before the handle was made.
        if self.process() != Some(pid) {
            return Ok(());
        }
        match pidfd_send_signal(&process, Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(FlavorError::failed(what, error.to_string())),
        }
        while self.process().is_some() {
            if !deadline.sleep(ENDING_PERIOD).await {
                let why = "it was told to end, and runs on";
                return Err(FlavorError::failed(what, why));
            }
        }
        Ok(())
    }

    /// The process that became the server, if it lives.
    fn process(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.beside("pid")).ok()?;
        let (pid, since) = text.split_once(' ')?;
        let pid: u32 = pid.parse().ok()?;
        let lives = begun(pid).is_some_and(|begun| begun.to_string() == since);
        Pid::from_raw(i32::try_from(pid).ok()?).filter(|_| lives)
    }

    fn failed(&self, doing: &str, path: &Path, error: &io::Error) -> FlavorError {
        FlavorError::failed(format!("{doing} {}", path.display()), error.to_string())
    }
}

/// When a process that lives began, in ticks since the boot; `None` for none, and for one that has ended.
fn begun(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, and ends at the last bracket.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let begun = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(directory: &Path) -> Server {
        let workload = Workload {
            directory: Some(directory.to_owned()),
            ..Workload::default()
        };
        Server::new("sleep", &workload, "data")
    }

    #[test]
    fn data_is_put_aside_and_starts_are_counted() {
        let scratch = tempfile::tempdir().expect("made");
        let server = server(scratch.path());
        assert!(!server.has_data().expect("looked"));
        server.put_aside().expect("there is nothing");
        server.make().expect("made");
        assert!(!server.has_data().expect("looked"));
        for round in ["1", "2"] {
            server.make().expect("made");
            fs::write(server.data().join("x"), round).expect("written");
            assert!(server.has_data().expect("looked"));
            server.begins().expect("noted");
            assert_eq!(server.vain_starts(), 1);
            server.put_aside().expect("put aside");
            assert_eq!((server.vain_starts(), server.data().exists()), (0, false));
        }
        server.put_aside().expect("there is nothing any more");
        let kept = fs::read_to_string(scratch.path().join("data.aside/x")).expect("kept");
        assert_eq!(kept, "2");
    }

    #[test]
    fn what_can_not_be_read_is_not_taken_for_empty() {
        let scratch = tempfile::tempdir().expect("made");
        fs::write(scratch.path().join("data"), "a file").expect("written");
        assert!(server(scratch.path()).has_data().is_err());
    }

    #[tokio::test]
    async fn ends_its_own_process_and_no_other() {
        let scratch = tempfile::tempdir().expect("made");
        let server = server(scratch.path());
        let soon = || Deadline::after(Duration::from_secs(10));
        server.end(soon()).await.expect("there is none");
        let mut child = tokio::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("runs");
        let pid = child.id().expect("it runs");
        server.write("pid", &format!("{pid} 1")).expect("written");
        server.end(soon()).await.expect("it is another one");
        assert!(
            child.try_wait().expect("asked").is_none(),
            "it was left alone"
        );
        let since = begun(pid).expect("it runs");
        server
            .write("pid", &format!("{pid} {since}"))
            .expect("written");
        server.end(soon()).await.expect("it ends");
        assert!(!child.wait().await.expect("ended").success());
    }
}
