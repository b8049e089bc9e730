//! Runs commands to their end, within a deadline.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::wait;

/// Commands answer within seconds; one that does not hangs, and shall fail its test rather than the whole run.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How a command ended, and what it said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The command, for messages.
    pub command: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Answer {
    /// Fails the test unless the command ended with 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Fails the test unless the command ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Fails the test unless the command said this, on either output.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "expected it to say `{text}`\n{self}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Standard output as one JSON value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{self}"))
        };
        self.stdout.lines().map(parse).collect()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            command,
            code,
            stdout,
            stderr,
        } = self;
        write!(f, "$ {command}\nexit code {code:?}\n{stdout}")?;
        if !stderr.is_empty() {
            write!(f, "--- standard error\n{stderr}")?;
        }
        Ok(())
    }
}

/// Runs a command, gives it `input`, and waits for its end. One that outlasts `deadline` is killed and fails the test.
#[track_caller]
pub fn run(command: &mut Command, input: &[u8], deadline: Duration) -> Answer {
    let shown = show(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let mut stdin = child.stdin.take().expect("it is a pipe");
    let input = input.to_vec();
    let feeder = thread::spawn(move || {
        // A command may end without reading all: its exit code tells more than our broken pipe.
        let _ = stdin.write_all(&input);
    });
    let stdout = collect(child.stdout.take().expect("it is a pipe"));
    let stderr = collect(child.stderr.take().expect("it is a pipe"));
    let code = wait_for_end(&mut child, &shown, deadline);
    feeder.join().expect("it does not panic");
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().expect("it does not panic")).into_owned()
    };
    Answer {
        command: shown,
        code,
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// The command as a person would type it.
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

#[track_caller]
fn wait_for_end(child: &mut Child, shown: &str, deadline: Duration) -> Option<i32> {
    let ended = wait::poll(deadline, Duration::from_millis(5), || {
        child
            .try_wait()
            .expect("it is our child")
            .ok_or_else(|| "it still runs".to_owned())
    });
    match ended {
        Ok(status) => status.code(),
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{shown} did not end within {deadline:?}");
        }
    }
}
