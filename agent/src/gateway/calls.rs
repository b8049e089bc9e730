//! Which method is whose, and what all of them have in common.

use muster_flavors::Registry;
use muster_provisioners::infrakit::field;
use serde_json::{Value, json};

use super::rpc::Params;
use super::{flavor, group, instance};
use crate::api::client::Client;
use crate::api::types::{ApiError, GroupDetail, Request, Response, Status};

/// Carries out calls by asking the mesh.
pub(super) struct Calls {
    client: Client,
    /// What the plugin is called.
    name: String,
}

/// What a call gives: a result, or what is wrong in words.
pub(super) type Called = Result<Value, String>;

impl Calls {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// Carries out a call.
    pub(super) async fn call(&self, method: &str, params: &Params) -> Called {
        let (service, method) = method.split_once('.').unwrap_or((method, ""));
        match service {
            "Handshake" => self.shake(method),
            "Group" => group::call(self, method, params).await,
            "Instance" => instance::call(self, method, params).await,
            "Flavor" => flavor::call(self, method, params).await,
            _ => Err(unknown(service, method)),
        }
    }

    /// What is served: groups and instances without a type, and each of muster's flavors as one.
    fn shake(&self, method: &str) -> Called {
        let object = |name: &str| json!({"Name": name, "ProxyFor": ""});
        let flavors = Registry::builtin();
        let flavors: Vec<_> = flavors.kinds().map(|kind| object(kind.name)).collect();
        match method {
            "Hello" => Ok(json!({"Objects": {
                group::VERSION: [object(".")],
                instance::VERSION: [object(".")],
                flavor::VERSION: flavors,
            }})),
            "Implements" => {
                let interfaces = [group::VERSION, instance::VERSION, flavor::VERSION];
                let interfaces = interfaces.map(|interface| {
                    let (name, version) = interface.split_once('/').unwrap_or((interface, ""));
                    json!({"Name": name, "Version": version})
                });
                Ok(json!({"APIs": interfaces}))
            }
            _ => Err(unknown("Handshake", method)),
        }
    }

    /// Asks the mesh.
    pub(super) async fn ask(&self, request: &Request) -> Result<Response, String> {
        self.client.call(request).await.map_err(words)
    }

    /// One group; InfraKit's words where there is none.
    pub(super) async fn group(&self, id: &str) -> Result<Box<GroupDetail>, String> {
        let request = Request::Group { id: id.to_owned() };
        match self.client.call(&request).await {
            Ok(Response::Group(group)) => Ok(group),
            Ok(_) => Err(strange()),
            Err(error) if error.kind == crate::api::ErrorKind::NotFound => {
                Err(format!("Group '{id}' is not being watched"))
            }
            Err(error) => Err(words(error)),
        }
    }

    /// The whole fleet.
    pub(super) async fn status(&self) -> Result<Box<Status>, String> {
        match self.ask(&Request::Status).await? {
            Response::Status(status) => Ok(status),
            _ => Err(strange()),
        }
    }

    /// What a request that only needs doing was answered with.
    pub(super) async fn order(&self, request: &Request) -> Result<(), String> {
        self.ask(request).await.map(|_| ())
    }

    /// The name under which a request came, for its answer.
    pub(super) fn name<'a>(&'a self, params: &'a Params) -> &'a str {
        let name = field(params, "Name").and_then(Value::as_str);
        name.unwrap_or(&self.name)
    }
}

/// An error of the mesh as one line, with what to do.
fn words(error: ApiError) -> String {
    match error.remedy {
        Some(remedy) => format!("{}; {remedy}", error.message),
        None => error.message,
    }
}

pub(super) fn strange() -> String {
    "the mesh answered something else than was asked".to_owned()
}

pub(super) fn unknown(service: &str, method: &str) -> String {
    format!("rpc: can't find method \"{service}.{method}\"")
}

/// A parameter that is a text.
pub(super) fn text<'p>(params: &'p Params, name: &str) -> Result<&'p str, String> {
    let value = field(params, name).ok_or_else(|| format!("{name} is missing"))?;
    value.as_str().ok_or_else(|| format!("{name} is no text"))
}
