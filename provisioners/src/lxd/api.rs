//! LXD's REST API: requests, and the operations that come of them.
//!
//! Whatever takes long is an *operation* that goes on in the server when nobody waits for it any more. It is waited for to
//! its end; how it ended, once that is forgotten (5 s later, or when the server restarts), shows in the instance itself.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::answer::{Entry, entries};
use super::changes;
use super::client::Client;
use super::config::LxdConfig;
use super::names::SERVER_DIGITS;
use super::refusal::refusal;
use crate::http::{Request, Response};
use crate::{Deadline, ProvisionError};

/// How long the server holds one question for the end of an operation.
const WAIT_S: u64 = 20;
/// The pause before looking again at something that changes without telling us.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A client of one project on one server.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    project: String,
    /// Known once it has been asked the first time.
    server: OnceCell<Server>,
}

/// The server that answers.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// The beginning of its certificate's fingerprint, in hexadecimal.
    pub(super) id: String,
}

/// How a change ended that LXD makes as an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    Done,
    /// It was tried and failed, in LXD's words.
    Refused(String),
    /// The server doesn't know any more how it ended.
    Forgotten,
}

/// What every answer is wrapped in.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(default)]
    metadata: Value,
}

/// What the server said to a request.
pub(super) enum Said {
    Yes(Response),
    /// There is no such thing (404), in its words.
    Missing(String),
    /// The request itself was refused (400, 409, 412), and nothing was done.
    No(String),
}

impl Api {
    pub(super) fn new(config: LxdConfig) -> Self {
        Self {
            project: config.project.clone(),
            client: Client::new(config),
            server: OnceCell::new(),
        }
    }

    /// A request within the project; `path` is below `/1.0/`.
    pub(super) fn request(&self, what: &str, method: reqwest::Method, path: &str) -> Request {
        Request::new(what, method, format!("/1.0/{path}")).query("project", self.project.as_str())
    }

    fn get_request(&self, what: &str, path: &str) -> Request {
        self.request(what, reqwest::Method::GET, path)
    }

    /// Sends a request and sorts the answer. One that only reads is repeated while the server can't be reached, and any other
    /// while LXD is busy with something else on the same instance.
    pub(super) async fn ask(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Said, ProvisionError> {
        if request.only_reads() {
            return crate::http::retried(deadline, || self.ask_once(request, deadline)).await;
        }
        loop {
            match self.ask_once(request, deadline).await? {
                Said::No(why) if is_busy(&why) && deadline.sleep(LOOK_AGAIN).await => {}
                Said::Yes(response) => {
                    changes::accepted();
                    return Ok(Said::Yes(response));
                }
                said => return Ok(said),
            }
        }
    }

    async fn ask_once(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Said, ProvisionError> {
        let http = self.client.http(deadline).await?;
        let response = http.send(request, deadline).await?;
        let words = error_of(&response);
        match response.status.as_u16() {
            404 => Ok(Said::Missing(words.unwrap_or_else(|| response.reason()))),
            400 | 409 | 412 => Ok(Said::No(words.unwrap_or_else(|| response.reason()))),
            // LXD says 500 for most of what it refuses; without its words it is not LXD that says so.
            500 if !request.only_reads() => match words {
                Some(words) => Ok(Said::No(words)),
                None => response.accepted().map(Said::Yes),
            },
            _ => response.accepted().map(Said::Yes),
        }
    }

    /// What a request that only reads is answered with; `None` if there is no such thing.
    pub(super) async fn read(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Option<Value>, ProvisionError> {
        match self.ask(request, deadline).await? {
            Said::Yes(response) => metadata(&response).map(Some),
            Said::Missing(_) => Ok(None),
            Said::No(why) => Err(refusal(why)),
        }
    }

    /// Makes a change that is done when the answer comes.
    pub(super) async fn change(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        match self.ask(request, deadline).await? {
            Said::Yes(_) => Ok(()),
            Said::Missing(why) => Err(ProvisionError::failed(why)),
            Said::No(why) => Err(refusal(why)),
        }
    }

    /// Makes a change as an operation, and waits for its end.
    pub(super) async fn operate(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Ended, ProvisionError> {
        loop {
            let response = match self.ask(request, deadline).await? {
                Said::Yes(response) => response,
                Said::Missing(why) | Said::No(why) => return Ok(Ended::Refused(why)),
            };
            match self.follow(&response, deadline).await? {
                Ended::Refused(why) if is_busy(&why) && deadline.sleep(LOOK_AGAIN).await => {}
                ended => return Ok(ended),
            }
        }
    }

    /// Waits for the end of the operation that an answer names.
    pub(super) async fn follow(
        &self,
        response: &Response,
        deadline: Deadline,
    ) -> Result<Ended, ProvisionError> {
        let operation = metadata(response)?;
        match operation["id"].as_str() {
            Some(id) => self.wait(&response.what, id, deadline).await,
            // Some changes are operations only on some servers.
            None if response.status.as_u16() == 200 => Ok(Ended::Done),
            None => Err(response.not_understood("it names no operation")),
        }
    }

    /// Waits for the end of an operation. From here on an error leaves open what came of it.
    async fn wait(
        &self,
        what: &str,
        id: &str,
        deadline: Deadline,
    ) -> Result<Ended, ProvisionError> {
        // It becomes part of an address.
        if id.is_empty()
            || !id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        {
            return Err(ProvisionError::timeout(format!(
                "{what}: the operation has no usable name"
            )));
        }
        loop {
            let seconds = deadline.remaining().as_secs().clamp(1, WAIT_S);
            let request = self
                .get_request(what, &format!("operations/{id}/wait"))
                .query("timeout", seconds.to_string());
            let operation = match self.ask(&request, deadline).await {
                Ok(Said::Yes(response)) => metadata(&response),
                Ok(Said::Missing(_)) => return Ok(Ended::Forgotten),
                Ok(Said::No(why)) => Err(ProvisionError::timeout(format!("{what}: {why}"))),
                Err(error) => Err(error),
            };
            let operation = operation.map_err(|error| unknown(what, &error))?;
            if let Some(ended) = ended(&operation) {
                return Ok(ended);
            }
            if !deadline.sleep(LOOK_AGAIN).await {
                return Err(ProvisionError::timeout(what));
            }
        }
    }

    /// Waits until no operation on this instance is under way any more: one whose answer was lost is found again here. Gives
    /// whether there was one.
    pub(super) async fn settle(
        &self,
        name: &str,
        deadline: Deadline,
    ) -> Result<bool, ProvisionError> {
        let mut waited = false;
        while let Some(id) = self.under_way(name, deadline).await? {
            waited = true;
            self.wait("waiting for an earlier operation", &id, deadline)
                .await?;
        }
        Ok(waited)
    }

    /// An operation on this instance that has not ended yet.
    pub(super) async fn under_way(
        &self,
        name: &str,
        deadline: Deadline,
    ) -> Result<Option<String>, ProvisionError> {
        let request = self
            .get_request("listing the operations", "operations")
            .query("recursion", "1");
        let all = self.read(&request, deadline).await?.unwrap_or_default();
        let by_status = all.as_object().into_iter().flatten();
        let mut all = by_status.filter_map(|(_, list)| list.as_array()).flatten();
        let ours = |operation: &&Value| ended(operation).is_none() && concerns(operation, name);
        let found = all
            .find(ours)
            .and_then(|operation| operation["id"].as_str());
        Ok(found.map(str::to_owned))
    }

    /// An instance of the project; `None` if there is none of that name.
    pub(super) async fn instance(
        &self,
        name: &str,
        deadline: Deadline,
    ) -> Result<Option<(Entry, Option<String>)>, ProvisionError> {
        let request = self.get_request("looking at the instance", &format!("instances/{name}"));
        let response = match self.ask(&request, deadline).await? {
            Said::Yes(response) => response,
            Said::Missing(_) => {
                self.known(deadline).await?;
                return Ok(None);
            }
            Said::No(why) => return Err(refusal(why)),
        };
        let etag = response.header("etag").map(str::to_owned);
        let entry = Entry::deserialize(metadata(&response)?)
            .map_err(|error| response.not_understood(error))?;
        if entry.name != name {
            return Err(response.not_understood(format!("it is about `{}`", entry.name)));
        }
        Ok(Some((entry, etag)))
    }

    /// All instances of the project, ours and others, with their addresses if that is asked for; and those that can't be read,
    /// by name, with why.
    pub(super) async fn instances(
        &self,
        addresses: bool,
        deadline: Deadline,
    ) -> Result<(Vec<Entry>, Vec<(String, String)>), ProvisionError> {
        // Of a project that isn't there LXD gives an empty list.
        self.known(deadline).await?;
        let request = self
            .get_request("listing the instances", "instances")
            .query("recursion", if addresses { "2" } else { "1" });
        match self.read(&request, deadline).await? {
            Some(Value::Array(list)) => Ok(entries(list)),
            _ => Err(ProvisionError::unavailable(
                "listing the instances: the answer is no list",
            )),
        }
    }

    /// Like [`instances`](Self::instances), of all projects; empty where the certificate, or the server, doesn't allow that.
    pub(super) async fn of_all_projects(
        &self,
        deadline: Deadline,
    ) -> Result<(Vec<Entry>, Vec<(String, String)>), ProvisionError> {
        let what = "listing the instances of all projects";
        let request = Request::get(what, "/1.0/instances")
            .query("all-projects", "true")
            .query("recursion", "1");
        match self.ask(&request, deadline).await {
            Ok(Said::Yes(response)) => match metadata(&response)? {
                Value::Array(list) => Ok(entries(list)),
                _ => Err(response.not_understood("it is no list")),
            },
            Ok(Said::Missing(_) | Said::No(_)) | Err(ProvisionError::Denied(_)) => {
                Ok(Default::default())
            }
            Err(error) => Err(error),
        }
    }

    /// The server that was asked first. Makes sure once that it trusts us and has the project.
    pub(super) async fn known(&self, deadline: Deadline) -> Result<&Server, ProvisionError> {
        self.server
            .get_or_try_init(|| self.look_at_server(deadline))
            .await
    }

    /// The server that answers now, trusts us and has the project.
    pub(super) async fn look_at_server(
        &self,
        deadline: Deadline,
    ) -> Result<Server, ProvisionError> {
        let request = Request::get("looking at the server", "/1.0");
        let about = self.read(&request, deadline).await?.unwrap_or_default();
        if about["auth"].as_str() == Some("untrusted") {
            return Err(ProvisionError::denied(
                "the server doesn't trust this machine's certificate; add it with `lxc config trust add FILE`",
            ));
        }
        let fingerprint = about["environment"]["certificate_fingerprint"].as_str();
        let id = fingerprint.and_then(|whole| whole.get(..SERVER_DIGITS));
        let Some(id) = id.filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())) else {
            return Err(ProvisionError::unavailable(
                "the server doesn't say its certificate's fingerprint; is it LXD or Incus?",
            ));
        };
        let project = Request::get(
            "looking at the project",
            format!("/1.0/projects/{}", self.project),
        );
        if self.read(&project, deadline).await?.is_none() {
            return Err(ProvisionError::failed(format!(
                "there is no project `{}` on the server; make it with `lxc project create {}`",
                self.project, self.project
            )));
        }
        Ok(Server {
            id: id.to_ascii_lowercase(),
        })
    }

    /// Sets keys of an instance's configuration, and removes those whose value is empty.
    pub(super) async fn set(
        &self,
        name: &str,
        config: &super::answer::Config,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let request = self
            .request(
                "writing to the instance's configuration",
                reqwest::Method::PATCH,
                &format!("instances/{name}"),
            )
            .json(&json!({ "config": config }));
        self.change(&request, deadline).await
    }
}

/// An answer without its wrapping.
fn metadata(response: &Response) -> Result<Value, ProvisionError> {
    response
        .json::<Envelope>()
        .map(|envelope| envelope.metadata)
}

/// The server's own words for why it said no; `None` if it is not LXD that speaks.
fn error_of(response: &Response) -> Option<String> {
    if response.status.is_success() {
        return None;
    }
    let said: Value = serde_json::from_slice(&response.body).ok()?;
    let words = said["error"].as_str().filter(|words| !words.is_empty())?;
    Some(format!("{}: {words}", response.what))
}

/// Whether LXD refuses because it does something else with the same instance at the moment, or did until just now.
fn is_busy(why: &str) -> bool {
    ["is busy running a", "matching non-reusable operation"]
        .iter()
        .any(|words| why.contains(words))
}

/// How an operation ended; `None` while it goes on. The codes are part of LXD's API: 1xx goes on, 2xx is good.
fn ended(operation: &Value) -> Option<Ended> {
    match operation["status_code"].as_u64() {
        Some(200) => Some(Ended::Done),
        Some(code) if code >= 400 => {
            let why = operation["err"].as_str().filter(|why| !why.is_empty());
            Some(Ended::Refused(
                why.unwrap_or("it failed without saying why").to_owned(),
            ))
        }
        _ => None,
    }
}

/// Whether an operation is about the instance of this name.
fn concerns(operation: &Value, name: &str) -> bool {
    let resources = operation["resources"].as_object().into_iter().flatten();
    let mut paths = resources
        .filter_map(|(_, paths)| paths.as_array())
        .flatten()
        .filter_map(Value::as_str);
    paths.any(|path| {
        let path = path.split('?').next().unwrap_or_default();
        path.split('/').any(|part| part == name)
    })
}

/// The change has been accepted, so whatever fails afterwards leaves open what came of it.
fn unknown(what: &str, error: &ProvisionError) -> ProvisionError {
    ProvisionError::timeout(format!("{what} ({error})"))
}
