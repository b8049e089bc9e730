//! The client against servers that say exactly what the test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls_pki_types::PrivateKeyDer;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::*;

/// Answers each connection's request with the next of `answers`, the last one for ever; an empty one hangs up.
async fn server(answers: Vec<String>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let number = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            answer(&mut stream, &answers[number]).await;
        }
    });
    (format!("http://{address}"), asked)
}

/// Reads one request without a body and answers it; gives what was asked.
async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => seen.extend_from_slice(&buffer[..read]),
            _ => break,
        }
    }
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
    String::from_utf8_lossy(&seen).into_owned()
}

fn plain(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn client(base: &str) -> Http {
    HttpConfig::new(base).build().expect("a client")
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn read() -> Request {
    Request::get("listing", "/list")
}

fn write() -> Request {
    Request::post("making", "/make")
}

#[tokio::test]
async fn an_answer_comes_whole() {
    let (base, _) = server(vec![plain("200 OK", r#"{"n":5}"#)]).await;
    let answer = client(&base).call(&read(), soon()).await.expect("answered");
    let value: serde_json::Value = answer.json().expect("JSON");
    assert_eq!(value["n"], 5);
}

#[tokio::test]
async fn what_nobody_listens_for_was_not_done() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let error = client(&base)
        .send(&write(), soon())
        .await
        .expect_err("down");
    assert!(matches!(error, ProvisionError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn what_was_sent_and_not_answered_may_have_been_done() {
    for broken in ["", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf"] {
        let (base, _) = server(vec![broken.to_owned()]).await;
        let http = client(&base);
        let error = http.send(&write(), soon()).await.expect_err("cut off");
        assert!(error.is_outcome_unknown(), "{error}");
        let error = http.send(&read(), soon()).await.expect_err("cut off");
        assert!(matches!(error, ProvisionError::Unavailable(_)), "{error}");
    }
}

#[tokio::test]
async fn reading_is_tried_again_and_writing_is_not() {
    let answers = vec![plain("503 Busy", "later"), plain("200 OK", "{}")];
    let (base, asked) = server(answers.clone()).await;
    client(&base).call(&read(), soon()).await.expect("at last");
    assert_eq!(asked.load(Ordering::SeqCst), 2);

    let (base, asked) = server(answers).await;
    let error = client(&base)
        .call(&write(), soon())
        .await
        .expect_err("busy");
    assert!(
        error.is_retryable() && !error.is_outcome_unknown(),
        "{error}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_status_is_read_as_what_it_means() {
    type Is = fn(&ProvisionError) -> bool;
    let cases: [(&str, Is); 6] = [
        ("401 Unauthorized", |error| {
            matches!(error, ProvisionError::Denied(_))
        }),
        ("403 Forbidden", |error| {
            matches!(error, ProvisionError::Denied(_))
        }),
        ("429 Too Many\r\nretry-after: 7", |error| {
            *error
                == ProvisionError::Throttled {
                    retry_after: Some(Duration::from_secs(7)),
                }
        }),
        ("503 Busy\r\nretry-after: 999999", |error| {
            *error
                == ProvisionError::Throttled {
                    retry_after: Some(Duration::from_secs(300)),
                }
        }),
        ("500 Broken", ProvisionError::is_outcome_unknown),
        ("302 Found\r\nlocation: http://127.0.0.1:1/", |error| {
            matches!(error, ProvisionError::Failed(_))
        }),
    ];
    for (status, is) in cases {
        let (base, _) = server(vec![plain(status, "no\u{1}\nway")]).await;
        let answer = client(&base)
            .send(&write(), soon())
            .await
            .expect("answered");
        let error = answer.accepted().expect_err("no success");
        assert!(is(&error), "{status}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_never_ends_is_cut_off() {
    let long = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}",
        ANSWER_BYTES_MAX + 1,
        "x".repeat(ANSWER_BYTES_MAX + 1)
    );
    let (base, _) = server(vec![long]).await;
    let error = client(&base)
        .send(&read(), soon())
        .await
        .expect_err("too long");
    assert!(error.to_string().contains("longer than"), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let brief = Deadline::after(Duration::from_millis(200));
    let error = client(&base)
        .call(&write(), brief)
        .await
        .expect_err("hangs");
    assert!(error.is_outcome_unknown(), "{error}");
}

#[tokio::test]
async fn a_unix_socket_is_asked_like_a_host() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).expect("binds");
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("asked");
        answer(&mut stream, &plain("200 OK", "{}")).await
    });
    let http = client(&format!("unix://{}", path.display()));
    let request = read().query("filter", "a b&c");
    http.call(&request, soon()).await.expect("answered");
    let asked = served.await.expect("served");
    assert!(
        asked.starts_with("GET /list?filter=a+b%26c HTTP/1.1"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_server_is_known_by_its_certificate() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
    let hash: [u8; 32] = Sha256::digest(made.cert.der()).into();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, made.cert.pem()).expect("written");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let base = format!("https://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                answer(&mut stream, &plain("200 OK", "{}")).await;
            }
        }
    });
    let ask = |trust: Trust| {
        let config = HttpConfig {
            trust,
            ..HttpConfig::new(&base)
        };
        async move { config.build()?.send(&read(), soon()).await }
    };
    for trusted in [
        Trust::Fingerprint(hash),
        Trust::Authority(file),
        Trust::Anyone,
    ] {
        ask(trusted.clone())
            .await
            .unwrap_or_else(|error| panic!("{trusted:?}: {error}"));
    }
    let error = ask(Trust::Fingerprint([7; 32])).await.expect_err("another");
    assert!(error.to_string().contains("another certificate"), "{error}");
    assert!(!error.is_outcome_unknown(), "nothing was sent: {error}");
    let missing = ask(Trust::Authority(directory.path().join("none"))).await;
    assert!(
        matches!(missing, Err(ProvisionError::Invalid(_))),
        "{missing:?}"
    );
}

#[test]
fn addresses_are_checked_before_anything_is_asked() {
    for good in [
        "http://127.0.0.1:5",
        "https://[::1]/redfish",
        "unix:///run/s",
    ] {
        assert_eq!(HttpConfig::new(good).validate("endpoint"), None, "{good}");
    }
    for bad in [
        "",
        "ftp://x",
        "unix://s",
        "http://",
        "http://me:secret@host/",
    ] {
        let problem = HttpConfig::new(bad).validate("endpoint").expect(bad);
        assert_eq!(problem.field, "endpoint");
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    assert_eq!(
        Trust::fingerprint(&"ab:".repeat(32)),
        Some(Trust::Fingerprint([0xab; 32]))
    );
    assert_eq!(Trust::fingerprint("abc"), None);
}

#[test]
fn secrets_in_headers_are_not_shown() {
    let request = read().secret_header(reqwest::header::AUTHORIZATION, "Basic hush");
    assert!(!format!("{request:?}").contains("hush"));
}

#[tokio::test(start_paused = true)]
async fn trying_again_ends_before_the_deadline_and_obeys_the_back_end() {
    let begun = tokio::time::Instant::now();
    let deadline = Deadline::after(Duration::from_secs(60));
    let mut tries = 0;
    let ended: Result<(), _> = retried(deadline, || {
        tries += 1;
        std::future::ready(Err(ProvisionError::Throttled {
            retry_after: Some(Duration::from_secs(25)),
        }))
    })
    .await;
    assert!(ended.is_err());
    assert_eq!(tries, 3, "at 0, 25 and 50 s");
    assert!(begun.elapsed() < Duration::from_secs(60));
}
