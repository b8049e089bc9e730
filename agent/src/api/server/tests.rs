use std::sync::Mutex;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use super::super::client::Client;
use super::super::types::{AsOf, Done, EventRow, Listed};
use super::*;

/// Answers `log_level` with what was asked for, `leave` never, everything else with a refusal.
#[derive(Default)]
struct Fake {
    callers: Mutex<Vec<Caller>>,
    /// One more owner for each listener.
    followers: Arc<()>,
}

#[async_trait]
impl Backend for Fake {
    async fn call(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.callers.lock().expect("no panic").push(caller.clone());
        match request {
            Request::LogLevel { filter } => Ok(Response::Done(Done {
                detail: filter.unwrap_or_default(),
            })),
            Request::Leave => std::future::pending().await,
            Request::Members => Ok(Response::Members(Listed {
                as_of: AsOf::default(),
                items: vec![],
            })),
            _ => Err(ApiError::refused("no").remedy("ask something else")),
        }
    }

    async fn follow(
        &self,
        _: &Caller,
        request: EventsRequest,
        events: mpsc::Sender<EventRow>,
    ) -> Result<(), ApiError> {
        let _here = Arc::clone(&self.followers);
        for seq in request.after.unwrap_or(0)..3 {
            if events.send(event(seq)).await.is_err() {
                return Ok(());
            }
        }
        if request.limit == Some(0) {
            return Err(ApiError::refused("no more"));
        }
        // A back-end with nothing to send doesn't notice by itself that nobody listens.
        std::future::pending().await
    }
}

fn event(seq: u64) -> EventRow {
    EventRow {
        seq,
        at: String::new(),
        at_ms: 0,
        kind: "test".into(),
        machine: None,
        group: None,
        decision: None,
        detail: String::new(),
    }
}

struct Running {
    directory: TempDir,
    backend: Arc<Fake>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let server = Server::bind(&directory.path().join("s"))
            .await
            .expect("free");
        let backend = Arc::new(Fake::default());
        let task = tokio::spawn(server.serve(Arc::clone(&backend) as Arc<dyn Backend>));
        Self {
            directory,
            backend,
            task,
        }
    }

    fn client(&self) -> Client {
        Client::socket(self.directory.path().join("s"))
    }

    async fn connect(&self) -> BufReader<UnixStream> {
        let path = self.directory.path().join("s");
        BufReader::new(UnixStream::connect(path).await.expect("it listens"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn exchange(stream: &mut BufReader<UnixStream>, request: &[u8]) -> serde_json::Value {
    // The node may close before it has read all of a request that is too long.
    let _ = stream.get_mut().write_all(request).await;
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("an answer");
    serde_json::from_str(&line).expect("JSON")
}

#[tokio::test]
async fn answers_calls_with_results_and_errors() {
    let running = Running::start().await;
    let client = running.client();
    let filter = Some("debug".to_owned());
    let answer = client
        .call(&Request::LogLevel { filter })
        .await
        .expect("answered");
    assert_eq!(
        answer,
        Response::Done(Done {
            detail: "debug".into()
        })
    );
    let error = client.call(&Request::Health).await.expect_err("refused");
    assert_eq!(error, ApiError::refused("no").remedy("ask something else"));
    let callers = running.backend.callers.lock().expect("no panic");
    assert!(
        matches!(callers[0], Caller::Local { pid: Some(_), .. }),
        "{callers:?}"
    );
}

#[tokio::test]
async fn rubbish_is_answered_and_the_connection_goes_on() {
    let running = Running::start().await;
    let mut stream = running.connect().await;
    for rubbish in [
        &b"hello\n"[..],
        b"{}\n",
        b"[[[[[[[[[[\n",
        b"{\"op\":\"status\",\n",
        b"\xff\xfe\n",
        b"{\"op\":\"nonsense\"}\n",
    ] {
        let answer = exchange(&mut stream, rubbish).await;
        assert_eq!(answer["error"]["kind"], "invalid", "{answer}");
    }
    let deep = format!("{}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        exchange(&mut stream, deep.as_bytes()).await["error"]["kind"],
        "invalid"
    );
    let answer = exchange(&mut stream, b"{\"op\":\"members\"}\n").await;
    assert_eq!(answer["ok"]["answer"], "members");
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused() {
    let running = Running::start().await;
    let mut stream = running.connect().await;
    let long = vec![b'x'; REQUEST_BYTES_MAX + 2];
    let answer = exchange(&mut stream, &long).await;
    assert_eq!(answer["error"]["kind"], "too_large", "{answer}");
    // Closed, also where the rest of the request made that a reset.
    let mut rest = Vec::new();
    assert!(!matches!(stream.read_to_end(&mut rest).await, Ok(count) if count > 0));
}

#[tokio::test]
async fn half_a_request_is_named() {
    let running = Running::start().await;
    let mut stream = running.connect().await;
    stream
        .get_mut()
        .write_all(b"{\"op\":")
        .await
        .expect("it listens");
    stream.get_mut().shutdown().await.expect("still open");
    let answer = exchange(&mut stream, b"").await;
    assert_eq!(answer["error"]["kind"], "invalid", "{answer}");
}

#[tokio::test]
async fn too_many_clients_are_turned_away_and_places_become_free() {
    let running = Running::start().await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = running.connect().await;
        exchange(&mut stream, b"{\"op\":\"members\"}\n").await;
        clients.push(stream);
    }
    let error = running
        .client()
        .call(&Request::Members)
        .await
        .expect_err("full");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    clients.clear();
    while running.client().call(&Request::Members).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn events_stream_until_the_client_hangs_up() {
    let running = Running::start().await;
    let request = EventsRequest {
        after: Some(1),
        ..EventsRequest::default()
    };
    let mut events = running.client().follow(request).await.expect("connected");
    for seq in [1, 2] {
        assert_eq!(events.next().await.expect("an event"), Some(event(seq)));
    }
    assert_eq!(Arc::strong_count(&running.backend.followers), 2);
    drop(events);
    while Arc::strong_count(&running.backend.followers) > 1 {
        tokio::task::yield_now().await;
    }
    running
        .client()
        .call(&Request::Members)
        .await
        .expect("others are answered");
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_the_error() {
    let running = Running::start().await;
    let request = EventsRequest {
        limit: Some(0),
        ..EventsRequest::default()
    };
    let mut events = running.client().follow(request).await.expect("connected");
    for seq in 0..3 {
        assert_eq!(events.next().await.expect("an event"), Some(event(seq)));
    }
    assert_eq!(events.next().await, Err(ApiError::refused("no more")));
}

#[tokio::test]
async fn nobody_there_is_unreachable_with_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let client = Client::socket(directory.path().join("nobody"));
    let error = client.call(&Request::Status).await.expect_err("nobody");
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert_eq!(error.exit_code() as u8, 3);
    assert!(error.remedy.is_some());
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_timeout() {
    let running = Running::start().await;
    let client = running.client().with_timeout(Duration::from_millis(50));
    let error = client.call(&Request::Leave).await.expect_err("it hangs");
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(
        error
            .remedy
            .is_some_and(|remedy| remedy.contains("before you repeat"))
    );
}
