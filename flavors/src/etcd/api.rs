//! etcd's members and their state, asked over its JSON gateway (`/v3`).

use muster_provisioners::Deadline;
use muster_provisioners::http::{Http, HttpConfig, Request};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::{FlavorError, Role};

/// One member's client.
pub(super) struct Client {
    http: Http,
    member: String,
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Status {
    /// Who answers.
    pub(super) header: Header,
    /// Who leads, as far as it knows; 0 where it does not.
    #[serde(default, deserialize_with = "number")]
    pub(super) leader: u64,
    /// Whether it has no vote yet.
    #[serde(default, rename = "isLearner")]
    pub(super) is_learner: bool,
    /// What it complains of.
    #[serde(default)]
    pub(super) errors: Vec<String>,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Header {
    #[serde(default, deserialize_with = "number")]
    pub(super) member_id: u64,
}

/// A member of the ensemble.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Member {
    /// Its number.
    #[serde(rename = "ID", default, deserialize_with = "number")]
    pub(super) id: u64,
    /// Its name; empty until it has begun.
    #[serde(default)]
    pub(super) name: String,
    /// Where the others ask it.
    #[serde(default, rename = "peerURLs")]
    pub(super) peer_urls: Vec<String>,
    /// Whether it has no vote yet.
    #[serde(default, rename = "isLearner")]
    pub(super) is_learner: bool,
}

#[derive(Debug, Deserialize)]
struct Members {
    #[serde(default)]
    members: Vec<Member>,
}

#[derive(Debug, Deserialize)]
struct Agreement {
    health: Option<Value>,
}

impl Status {
    /// The part that the server plays.
    pub(super) fn role(&self) -> Role {
        match self.leader {
            0 => Role::Outside,
            _ if self.is_learner => Role::Learner,
            leader if leader == self.header.member_id => Role::Leader,
            _ => Role::Follower,
        }
    }
}

/// The gateway writes numbers of 64 bits as texts.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Value::deserialize(from)? {
        Value::String(text) => text.parse().map_err(serde::de::Error::custom),
        Value::Number(number) => number
            .as_u64()
            .ok_or_else(|| serde::de::Error::custom("a number that is none of 64 bits")),
        Value::Null => Ok(0),
        _ => Err(serde::de::Error::custom("no number")),
    }
}

impl Client {
    pub(super) fn new(config: &HttpConfig, member: &str) -> Result<Self, FlavorError> {
        let http = config.build();
        let http = http.map_err(|error| FlavorError::failed("asking etcd", error.to_string()))?;
        Ok(Self {
            http,
            member: member.to_owned(),
        })
    }

    /// How it is.
    pub(super) async fn status(&self, deadline: Deadline) -> Result<Status, FlavorError> {
        self.ask("its status", "/v3/maintenance/status", deadline)
            .await
    }

    /// Who is a member, as far as it knows.
    pub(super) async fn members(&self, deadline: Deadline) -> Result<Vec<Member>, FlavorError> {
        let members: Members = self
            .ask("its members", "/v3/cluster/member/list", deadline)
            .await?;
        Ok(members.members)
    }

    /// The same, not behind what a majority agreed to before it was asked. Only one with a vote says so.
    pub(super) async fn members_now(&self, deadline: Deadline) -> Result<Vec<Member>, FlavorError> {
        // Versions before 3.5 list what they know; after a read that a majority agreed to, they know of all before it.
        let read = json!({ "key": "AA==", "keys_only": true, "limit": "1" });
        let path = "/v3/kv/range";
        let _: Value = self.ask_with("a read", path, &read, deadline).await?;
        let path = "/v3/cluster/member/list";
        let list = json!({ "linearizable": true });
        let members: Members = self.ask_with("its members", path, &list, deadline).await?;
        Ok(members.members)
    }

    /// Whether a majority agrees to a read.
    pub(super) async fn agrees(&self, deadline: Deadline) -> Result<bool, FlavorError> {
        let what = format!("asking etcd on {} for its health", self.member);
        let request = Request::get(what.clone(), "/health");
        let answer = self.http.send(&request, deadline).await;
        let answer = answer.map_err(|error| FlavorError::failed(&what, error.to_string()))?;
        let agreement: Agreement = answer
            .json()
            .map_err(|error| FlavorError::failed(&what, error.to_string()))?;
        Ok(match agreement.health {
            Some(Value::Bool(agrees)) => agrees,
            Some(Value::String(word)) => word == "true",
            _ => false,
        })
    }

    /// Adds a member without a vote.
    pub(super) async fn add(&self, peer_url: &str, deadline: Deadline) -> Result<(), FlavorError> {
        let body = json!({ "peerURLs": [peer_url], "isLearner": true });
        let what = format!("adding {peer_url}");
        self.tell(&what, "/v3/cluster/member/add", &body, deadline)
            .await
    }

    /// Removes a member.
    pub(super) async fn remove(&self, id: u64, deadline: Deadline) -> Result<(), FlavorError> {
        let body = json!({ "ID": id.to_string() });
        let what = format!("removing member {id:x}");
        self.tell(&what, "/v3/cluster/member/remove", &body, deadline)
            .await
    }

    /// Gives a member its vote, if it has caught up.
    pub(super) async fn promote(&self, id: u64, deadline: Deadline) -> Result<(), FlavorError> {
        let body = json!({ "ID": id.to_string() });
        let what = format!("giving member {id:x} a vote");
        self.tell(&what, "/v3/cluster/member/promote", &body, deadline)
            .await
    }

    /// Has this server, which leads, hand over to another one.
    pub(super) async fn transfer(&self, to: u64, deadline: Deadline) -> Result<(), FlavorError> {
        let body = json!({ "targetID": to.to_string() });
        let what = format!("handing the leadership over to {to:x}");
        self.tell(
            &what,
            "/v3/maintenance/transfer-leadership",
            &body,
            deadline,
        )
        .await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        deadline: Deadline,
    ) -> Result<T, FlavorError> {
        self.ask_with(what, path, &json!({}), deadline).await
    }

    async fn ask_with<T: DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        body: &Value,
        deadline: Deadline,
    ) -> Result<T, FlavorError> {
        let what = format!("asking etcd on {} for {what}", self.member);
        let request = Request::post(what.clone(), path).reading().json(body);
        let answer = self.http.send(&request, deadline).await;
        let answer = answer.and_then(|answer| answer.accepted()?.json());
        answer.map_err(|error| FlavorError::failed(what, error.to_string()))
    }

    async fn tell(
        &self,
        what: &str,
        path: &str,
        body: &Value,
        deadline: Deadline,
    ) -> Result<(), FlavorError> {
        let what = format!("{what} through etcd on {}", self.member);
        let request = Request::post(what.clone(), path).json(body);
        let answer = self.http.send(&request, deadline).await;
        let answer = answer.and_then(muster_provisioners::http::Response::accepted);
        let failed = |error: muster_provisioners::ProvisionError| {
            FlavorError::failed(what, error.to_string())
        };
        answer.map(|_| ()).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_the_gateway_writes_them() {
        let status = |text: &str| serde_json::from_str::<Status>(text);
        let leads =
            r#"{"header":{"cluster_id":"1","member_id":"9"},"version":"3.4.23","leader":"9"}"#;
        assert_eq!(status(leads).expect("valid").role(), Role::Leader);
        let follows = r#"{"header":{"member_id":"8"},"leader":9}"#;
        assert_eq!(status(follows).expect("valid").role(), Role::Follower);
        let learns = r#"{"header":{"member_id":"8"},"leader":"9","isLearner":true}"#;
        assert_eq!(status(learns).expect("valid").role(), Role::Learner);
        let lost = r#"{"header":{"member_id":"8"},"errors":["etcdserver: no leader"]}"#;
        assert_eq!(status(lost).expect("valid").role(), Role::Outside);
        assert!(status(r#"{"header":{"member_id":"x"}}"#).is_err());
        assert!(status("{}").is_err());
        let list = r#"{"members":[{"ID":"7","peerURLs":["http://a:2380"],"isLearner":true}]}"#;
        let list: Members = serde_json::from_str(list).expect("valid");
        let listed = &list.members[0];
        assert_eq!(
            (listed.id, listed.name.as_str(), listed.is_learner),
            (7, "", true)
        );
    }
}
