//! The `muster dev` process itself.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::command::show;
use crate::wait;

/// As many of its last lines are kept for the case that a test fails.
const LINES_MAX: usize = 1000;

/// `muster dev`, and what it says.
#[derive(Debug)]
pub(super) struct Dev {
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Dev {
    #[track_caller]
    pub(super) fn start(mut command: Command) -> Self {
        let shown = show(&command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        keep(child.stdout.take().expect("it is a pipe"), "", &lines);
        keep(
            child.stderr.take().expect("it is a pipe"),
            "(standard error) ",
            &lines,
        );
        Self { child, lines }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    /// Ends it as Ctrl-C does. It has a minute to stop its machines, and must say that all is well.
    #[track_caller]
    pub(super) fn stop(mut self) {
        self.signal(Signal::INT);
        let ended = self.wait(Duration::from_secs(60));
        let status = ended.unwrap_or_else(|| panic!("Ctrl-C did not end it: {:#?}", self.lines()));
        assert_eq!(status, Some(0), "{:#?}", self.lines());
    }

    /// Ends it as a crash would.
    pub(super) fn kill(self) {
        self.end(Signal::KILL, Duration::from_secs(5));
    }

    /// Ends it, the hard way when the gentle one takes too long.
    pub(super) fn end(mut self, signal: Signal, patience: Duration) {
        self.signal(signal);
        if self.wait(patience).is_none() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }

    fn signal(&self, signal: Signal) {
        // Our own child keeps its number until we have waited for it.
        if let Ok(raw) = i32::try_from(self.child.id())
            && let Some(pid) = Pid::from_raw(raw)
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// Its exit code (`None`: a signal), once it has ended in time.
    fn wait(&mut self, patience: Duration) -> Option<Option<i32>> {
        let child = &mut self.child;
        let ended = wait::poll(patience, Duration::from_millis(20), || {
            child
                .try_wait()
                .expect("it is our child")
                .ok_or_else(String::new)
        });
        ended.ok().map(|status| status.code())
    }
}

/// Keeps the last lines of a pipe, so that its writer never blocks.
fn keep(
    pipe: impl Read + Send + 'static,
    mark: &'static str,
    lines: &Arc<Mutex<VecDeque<String>>>,
) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(format!("{mark}{line}"));
        }
    });
}
