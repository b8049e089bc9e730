//! Tokens and operators: secrets go where they were wanted and nowhere else.

use std::os::unix::fs::PermissionsExt;

use muster::api::types::{OperatorCreated, TokenCreated};
use muster::api::{ApiError, Response};
use muster_mesh::identity::ClusterId;

use super::node::Node;

fn token() -> Result<Response, ApiError> {
    Ok(Response::TokenCreated(TokenCreated {
        id: "00000000000000ab".into(),
        token: "muster1-secret".into(),
        expires_ms: u64::MAX,
        uses: 3,
        addresses: vec!["10.0.0.1:6878".parse().expect("an address")],
    }))
}

fn operator() -> Result<Response, ApiError> {
    Ok(Response::OperatorCreated(OperatorCreated {
        name: "alice".into(),
        cluster: ClusterId::new(1).expect("not zero"),
        pem: "-----BEGIN PRIVATE KEY-----\n".into(),
        expires_ms: u64::MAX,
    }))
}

#[test]
fn only_the_token_goes_to_standard_output() {
    let node = Node::answering([token(), token()]);
    let people = node.run(&["token", "create", "--uses", "3"]).with(0);
    assert_eq!(people.stdout, "muster1-secret\n");
    assert!(
        people
            .stderr
            .contains("muster join 10.0.0.1:6878 --token TOKEN"),
        "{people:#?}"
    );
    assert!(!people.stderr.contains("secret"), "{people:#?}");
    let scripts = node.run(&["token", "create", "--json"]).with(0);
    assert_eq!(scripts.json()["token"], "muster1-secret");
}

#[test]
fn an_operators_key_is_for_its_owner_alone_and_overwrites_nothing() {
    let node = Node::answering([operator(), operator(), operator()]);
    let ended = node.run(&["operator", "create", "alice"]).with(0);
    let path = node.directory().join("alice.pem");
    let mode = std::fs::metadata(&path)
        .expect("written")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        std::fs::read_to_string(&path)
            .expect("written")
            .contains("PRIVATE KEY")
    );
    assert!(!ended.stdout.contains("PRIVATE KEY"), "{ended:#?}");
    node.run(&["operator", "create", "alice"]).with(1);
    assert_eq!(
        node.asked().len(),
        1,
        "no certificate is made for a key that can't be kept"
    );

    std::fs::create_dir(node.directory().join("keys")).expect("writable");
    node.run(&["operator", "create", "alice", "--out", "keys"])
        .with(0);
    assert!(node.directory().join("keys/operator.pem").exists());
    let shown = node
        .run(&["operator", "create", "alice", "--out", "-"])
        .with(0);
    assert!(shown.stdout.contains("PRIVATE KEY"), "{shown:#?}");
}

#[test]
fn a_refusal_leaves_no_empty_file() {
    let node = Node::answering([Err(ApiError::refused("alice has a certificate already"))]);
    node.run(&["operator", "create", "alice"]).with(1);
    assert!(!node.directory().join("alice.pem").exists());
}
