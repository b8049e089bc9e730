//! Tokens and operators.

use std::sync::Arc;

use muster_mesh::pki::{CaHash, JoinToken, OperatorCredentials};

use super::office::Office;
use super::writes::done;
use crate::api::types::{OperatorRequest, TokenRequest};
use crate::api::{ErrorKind, Request, Response};
use crate::fleet::TokenId;
use crate::fleet::testing::{cluster, group};

#[tokio::test]
async fn a_token_works_and_only_its_hash_is_kept() {
    let office = Office::new();
    let request = TokenRequest {
        uses: Some(2),
        group: Some("web".into()),
        ..TokenRequest::default()
    };
    let created = match office.ask(Request::TokenCreate(request)).await {
        Ok(Response::TokenCreated(created)) => created,
        other => panic!("{other:?}"),
    };
    let token: JoinToken = created.token.parse().unwrap();
    {
        let scene = office.scene();
        let kept = scene.fleet.state.tokens[&TokenId(token.id().0)].clone();
        assert_eq!(kept.secret.0, token.hash().0);
        assert_eq!(kept.group, Some(group("web")));
        assert_eq!(kept.expires_ms, scene.fleet.now_ms + 24 * 3_600_000);
        assert_eq!(created.expires_ms, kept.expires_ms);
        assert_eq!(token.ca_hash(), CaHash::of(&[1, 2, 3]));
        assert_eq!((created.uses, created.addresses.len()), (2, 1));
        let everything = format!("{:?}", scene.fleet.state);
        assert!(!everything.contains(&created.token));
    }

    done(
        office
            .ask(Request::TokenRevoke {
                id: created.id.clone(),
            })
            .await,
    );
    for id in [created.id.as_str(), "beef", "+00000000000beef"] {
        let error = office
            .ask(Request::TokenRevoke { id: id.into() })
            .await
            .unwrap_err();
        assert!(error.remedy.is_some(), "{error:?}");
    }
    for ttl_ms in [0, u64::MAX] {
        let request = TokenRequest {
            ttl_ms: Some(ttl_ms),
            ..TokenRequest::default()
        };
        let error = office.ask(Request::TokenCreate(request)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn an_operator_gets_a_certificate_once() {
    let office = Office::new();
    let request = |name: &str| {
        Request::OperatorCreate(OperatorRequest {
            name: name.into(),
            ttl_ms: Some(3_600_000),
        })
    };
    let created = match office.ask(request("alice")).await {
        Ok(Response::OperatorCreated(created)) => created,
        other => panic!("{other:?}"),
    };
    let now_ms = office.scene().fleet.now_ms;
    let credentials = OperatorCredentials::from_pem(&created.pem, now_ms).unwrap();
    assert_eq!(
        (credentials.name(), credentials.cluster()),
        ("alice", cluster())
    );
    assert_eq!(created.expires_ms, credentials.not_after_ms());
    let on_record = office.scene().fleet.state.operators["alice"].expires_ms;
    assert_eq!(on_record, created.expires_ms);
    assert_eq!(
        office.ask(request("alice")).await.unwrap_err().kind,
        ErrorKind::Refused
    );
    assert_eq!(
        office.ask(request("Not A Name")).await.unwrap_err().kind,
        ErrorKind::Invalid
    );

    done(
        office
            .ask(Request::OperatorRevoke {
                name: "alice".into(),
            })
            .await,
    );
    assert!(matches!(
        office.ask(Request::OperatorList).await,
        Ok(Response::Operators(listed)) if listed.items[0].revoked
    ));
    let error = office
        .ask(Request::OperatorRevoke {
            name: "no\u{7}body".into(),
        })
        .await;
    assert_eq!(error.unwrap_err().message, "there is no operator `nobody`");
}

#[tokio::test]
async fn without_the_ca_key_no_operator_is_made() {
    let mut office = Office::new();
    Arc::get_mut(&mut office).unwrap().ca = None;
    let request = OperatorRequest {
        name: "bob".into(),
        ttl_ms: None,
    };
    let error = office
        .ask(Request::OperatorCreate(request))
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(office.scene().fleet.state.operators.is_empty());
}
