//! A node that answers as it was told, and the binary that asks it.

use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use muster::api::server::Server;
use muster::api::types::{EventRow, EventsRequest};
use muster::api::{ApiError, Backend, Caller, Request, Response};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A node that gives prepared answers, in order, and keeps what it was asked.
pub(super) struct Node {
    directory: TempDir,
    script: Arc<Script>,
    // Ends the server when dropped.
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Result<Response, ApiError>>>,
    asked: Mutex<Vec<Request>>,
}

impl Node {
    /// Listens at `api.sock` in a directory of its own.
    pub(super) fn answering(answers: impl IntoIterator<Item = Result<Response, ApiError>>) -> Self {
        Self::at("api.sock", answers)
    }

    /// Listens at a path below a directory of its own.
    pub(super) fn at(
        path: &str,
        answers: impl IntoIterator<Item = Result<Response, ApiError>>,
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().expect("below the directory")).expect("writable");
        let script = Arc::new(Script {
            answers: Mutex::new(answers.into_iter().collect()),
            asked: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let server = runtime.block_on(Server::bind(&path)).expect("free");
        runtime.spawn(server.serve(Arc::clone(&script) as Arc<dyn Backend>));
        Self {
            directory,
            script,
            _runtime: runtime,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("api.sock")
    }

    /// What it was asked so far.
    pub(super) fn asked(&self) -> Vec<Request> {
        self.script.asked.lock().expect("no panic").clone()
    }

    /// Runs `muster WORDS --node SOCKET`.
    pub(super) fn run(&self, words: &[&str]) -> Ended {
        self.run_with_input(words, "")
    }

    /// Runs `muster WORDS --node SOCKET` with this standard input.
    pub(super) fn run_with_input(&self, words: &[&str], input: &str) -> Ended {
        let mut command = muster(words);
        command
            .arg("--node")
            .arg(self.socket())
            .current_dir(self.directory());
        run(command, input)
    }
}

/// `muster WORDS` without anything from the environment that tests run in.
pub(crate) fn muster(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("MUSTER_") || name == "NO_COLOR" {
            command.env_remove(&*name);
        }
    }
    command.env("TZ", "UTC").args(words);
    command
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn run(mut command: Command, input: &str) -> Ended {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may end without having read it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("it ends");
    Ended {
        code: status.code(),
        stdout: String::from_utf8(stdout).expect("UTF-8"),
        stderr: String::from_utf8(stderr).expect("UTF-8"),
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

#[async_trait]
impl Backend for Script {
    async fn call(&self, _: &Caller, request: Request) -> Result<Response, ApiError> {
        self.asked.lock().expect("no panic").push(request);
        let next = self.answers.lock().expect("no panic").pop_front();
        next.unwrap_or_else(|| Err(ApiError::internal("the script has no more answers")))
    }

    async fn follow(
        &self,
        _: &Caller,
        request: EventsRequest,
        events: mpsc::Sender<EventRow>,
    ) -> Result<(), ApiError> {
        self.asked
            .lock()
            .expect("no panic")
            .push(Request::Events(request));
        let mut seq = 0;
        while events.send(event(seq)).await.is_ok() {
            seq += 1;
        }
        Ok(())
    }
}

pub(super) fn event(seq: u64) -> EventRow {
    EventRow {
        seq,
        at: "2023-11-14T22:13:20.000Z".into(),
        at_ms: 1_700_000_000_000,
        kind: "joined".into(),
        machine: Some("web-4".into()),
        group: Some("web".into()),
        decision: None,
        detail: format!("event {seq}"),
    }
}
