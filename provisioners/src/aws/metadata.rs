//! The instance metadata service of the machine that this agent runs on (IMDSv2 only: requests carry a session's token).

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderName;
use serde::Deserialize;

use super::clock;
use super::config::AwsConfig;
use super::credentials::Keys;
use super::notice::Notice;
use crate::http::{Http, HttpConfig, Request};
use crate::{Deadline, Properties, ProvisionError, Secret};

/// The address of the service on every EC2 instance.
pub(super) const ENDPOINT: &str = "http://169.254.169.254";

/// How long a session may last, in seconds. Each look begins a new one: they are rare, and a session that was begun before the
/// machine was stopped is worth nothing.
const SESSION_S: &str = "60";

/// It is one hop away and answers within milliseconds; where there is none, packets vanish.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest that is believed of what it says.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Events that are looked at.
const EVENTS_MAX: usize = 16;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct Metadata(Http);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials {
    code: String,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<String>,
}

#[derive(Deserialize)]
struct SpotAction {
    action: String,
    time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    code: String,
    not_before: Option<String>,
    state: Option<String>,
}

impl Metadata {
    pub(super) fn new(endpoint: &str) -> Result<Self, ProvisionError> {
        HttpConfig::new(endpoint).build().map(Self)
    }

    /// What it says at a path; `None` if there is nothing.
    async fn get(&self, path: &str, deadline: Deadline) -> Result<Option<String>, ProvisionError> {
        let deadline = deadline.at_most(PATIENCE);
        let what = "asking the instance metadata service";
        let begin = Request::new(what, Method::PUT, "/latest/api/token")
            .reading()
            .header(
                HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds"),
                SESSION_S,
            )
            .body("text/plain", "");
        let session = unanswered(self.0.send(&begin, deadline).await)?.accepted()?;
        let session = String::from_utf8_lossy(&session.body).trim().to_owned();
        let ask = Request::get(what, format!("/latest/meta-data/{path}")).secret_header(
            HeaderName::from_static("x-aws-ec2-metadata-token"),
            &session,
        );
        let answer = unanswered(self.0.send(&ask, deadline).await)?;
        if answer.status.as_u16() == 404 {
            return Ok(None);
        }
        let answer = answer.accepted()?;
        if answer.body.len() > TEXT_BYTES_MAX {
            return Err(answer.not_understood("it is too long"));
        }
        Ok(Some(String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// The region that this machine stands in.
    pub(super) async fn region(
        &self,
        deadline: Deadline,
    ) -> Result<Option<String>, ProvisionError> {
        let said = self.get("placement/region", deadline).await?;
        Ok(said.map(|said| said.trim().to_owned()))
    }

    /// The credentials of this machine's role; `None` if it has none.
    pub(super) async fn credentials(
        &self,
        deadline: Deadline,
    ) -> Result<Option<Keys>, ProvisionError> {
        let Some(roles) = self.get("iam/security-credentials/", deadline).await? else {
            return Ok(None);
        };
        let Some(role) = roles
            .lines()
            .next()
            .map(str::trim)
            .filter(|role| is_name(role))
        else {
            return Ok(None);
        };
        let path = format!("iam/security-credentials/{role}");
        let Some(said) = self.get(&path, deadline).await? else {
            return Ok(None);
        };
        // The text holds a secret, so no error repeats any of it.
        let not_understood = || {
            ProvisionError::unavailable(format!(
                "what the metadata service says of the role {role} is not understood"
            ))
        };
        let said: RoleCredentials = serde_json::from_str(&said).map_err(|_| not_understood())?;
        if said.code != "Success" {
            return Err(ProvisionError::denied(format!(
                "the role {role} has no credentials: the metadata service says `{}`",
                said.code.chars().take(60).collect::<String>()
            )));
        }
        let (Some(id), Some(secret)) = (said.access_key_id, said.secret_access_key) else {
            return Err(not_understood());
        };
        Ok(Some(Keys {
            id,
            secret: Secret::new(secret),
            token: said.token.map(Secret::new),
            ends_ms: said.expiration.as_deref().and_then(clock::parse_ms),
            from: format!("the role {role} of this machine"),
        }))
    }

    /// What the provider is going to do to this machine: a spot interruption, and events that are scheduled.
    pub(super) async fn notices(&self, deadline: Deadline) -> Result<Vec<Notice>, ProvisionError> {
        let mut notices = Vec::new();
        if let Some(said) = self.get("spot/instance-action", deadline).await?
            && let Ok(spot) = serde_json::from_str::<SpotAction>(&said)
        {
            notices.push(Notice::spot(&spot.action, clock::parse_ms(&spot.time)));
        }
        if let Some(said) = self.get("events/maintenance/scheduled", deadline).await?
            && let Ok(events) = serde_json::from_str::<Vec<Event>>(&said)
        {
            let active =
                |event: &&Event| event.state.as_deref().is_none_or(|state| state == "active");
            let events = events.iter().filter(active).take(EVENTS_MAX);
            notices.extend(
                events.map(|event| Notice::scheduled(&event.code, event.not_before.as_deref())),
            );
        }
        Ok(notices)
    }
}

/// What the provider is going to do to the machine that this runs on, the next thing first, by its metadata service;
/// `settings` are the agent's for `aws`.
///
/// # Errors
/// [`ProvisionError::Invalid`] for settings that are wrong; [`ProvisionError::Unavailable`] if the service doesn't answer within
/// two seconds, as anywhere but on EC2.
pub async fn notices_here(
    settings: &Properties,
    deadline: Deadline,
) -> Result<Vec<Notice>, ProvisionError> {
    let config = AwsConfig::read(settings).map_err(ProvisionError::Invalid)?;
    let Some(metadata) = config.metadata()? else {
        return Ok(Vec::new());
    };
    let mut notices = metadata.notices(deadline).await?;
    notices.sort_unstable();
    Ok(notices)
}

/// A service that doesn't answer is none: every question only reads.
fn unanswered<T>(asked: Result<T, ProvisionError>) -> Result<T, ProvisionError> {
    asked.map_err(|error| match error {
        ProvisionError::Timeout(what) => {
            ProvisionError::unavailable(format!("{what}: no answer in time"))
        }
        other => other,
    })
}

fn is_name(role: &str) -> bool {
    (1..=128).contains(&role.len())
        && role
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte))
}
