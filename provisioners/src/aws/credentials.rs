//! Credentials from where the provider's own tools look for them, and anew before they run out.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::clock;
use super::environment::Environment;
use super::metadata::Metadata;
use super::profile;
use crate::{Deadline, ProvisionError, Secret};

/// How long credentials are used before they are looked for anew: files change when people rotate keys.
const KEPT: Duration = Duration::from_secs(60);

/// How long before they run out others are used. The metadata service has new ones five minutes before.
const SPARE_MS: u64 = 120_000;

/// Who we are to the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    /// The name of the key, which is no secret.
    pub(super) id: String,
    /// The key.
    pub(super) secret: Secret,
    /// For credentials that run out.
    pub(super) token: Option<Secret>,
    /// When they run out, in milliseconds since 1970.
    pub(super) ends_ms: Option<u64>,
    /// Where they are from, for errors.
    pub(super) from: String,
}

impl Keys {
    fn runs_out(&self) -> bool {
        self.ends_ms
            .is_some_and(|ends_ms| ends_ms < clock::now_ms().saturating_add(SPARE_MS))
    }
}

/// Looks for credentials: the environment, then the files of a profile, then the role of the machine.
#[derive(Debug)]
pub(super) struct Credentials {
    environment: Environment,
    profile: Option<String>,
    metadata: Option<Metadata>,
    kept: Mutex<Option<(Instant, Keys)>>,
}

impl Credentials {
    /// `profile` is one that was asked for by name: then the environment's keys don't count.
    pub(super) fn new(
        environment: Environment,
        profile: Option<String>,
        metadata: Option<Metadata>,
    ) -> Self {
        Self {
            environment,
            profile,
            metadata,
            kept: Mutex::new(None),
        }
    }

    /// Those to be used now. With `fresh`, those that were used last are not good any more.
    pub(super) async fn get(
        &self,
        fresh: bool,
        deadline: Deadline,
    ) -> Result<Keys, ProvisionError> {
        let mut kept = self.kept.lock().await;
        if let Some((since, keys)) = &*kept
            && !fresh
            && since.elapsed() < KEPT
            && !keys.runs_out()
        {
            return Ok(keys.clone());
        }
        let keys = match self.find(deadline).await {
            // What the metadata service gave lasts for hours: its failing for a while does no harm.
            Err(error) if error.is_retryable() => match &*kept {
                Some((_, keys)) if keys.ends_ms.is_some() && !fresh && !keys.has_run_out() => {
                    tracing::warn!(%error, "the credentials can't be renewed yet");
                    return Ok(keys.clone());
                }
                _ => return Err(error),
            },
            found => found?,
        };
        *kept = Some((Instant::now(), keys.clone()));
        Ok(keys)
    }

    async fn find(&self, deadline: Deadline) -> Result<Keys, ProvisionError> {
        let env = &self.environment;
        if self.profile.is_none()
            && let (Some(id), Some(secret)) = (
                env.get("AWS_ACCESS_KEY_ID"),
                env.get("AWS_SECRET_ACCESS_KEY"),
            )
        {
            return Ok(Keys {
                id,
                secret: Secret::new(secret),
                token: env.get("AWS_SESSION_TOKEN").map(Secret::new),
                ends_ms: None,
                from: "the environment".to_owned(),
            });
        }
        let name = self.profile_name();
        if let Some(keys) = self.of_profile(&name).await? {
            return Ok(keys);
        }
        if let Some(profile) = &self.profile {
            return Err(ProvisionError::denied(format!(
                "the profile `{profile}` has no aws_access_key_id and aws_secret_access_key in the files of profiles"
            )));
        }
        let from_role = match &self.metadata {
            Some(metadata) => metadata.credentials(deadline).await,
            None => Ok(None),
        };
        match from_role {
            Ok(Some(keys)) => Ok(keys),
            Err(error @ ProvisionError::Denied(_)) => Err(error),
            other => Err(none(other.err())),
        }
    }

    /// The profile that counts.
    pub(super) fn profile_name(&self) -> String {
        let named = self.profile.clone();
        named
            .or_else(|| self.environment.get("AWS_PROFILE"))
            .unwrap_or_else(|| "default".to_owned())
    }

    async fn of_profile(&self, name: &str) -> Result<Option<Keys>, ProvisionError> {
        let files = [
            ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
            ("AWS_CONFIG_FILE", ".aws/config"),
        ];
        for (variable, otherwise) in files {
            let settings = read(&self.environment, variable, otherwise, name).await?;
            let Some((path, settings)) = settings else {
                continue;
            };
            if let (Some(id), Some(secret)) = (
                settings.get("aws_access_key_id"),
                settings.get("aws_secret_access_key"),
            ) {
                let token = settings.get("aws_session_token");
                return Ok(Some(Keys {
                    id: id.clone(),
                    secret: Secret::new(secret.clone()),
                    token: token.map(|token| Secret::new(token.clone())),
                    ends_ms: None,
                    from: format!("the profile `{name}` in {path}"),
                }));
            }
        }
        Ok(None)
    }

    /// The region that the profile's files name.
    pub(super) async fn region(&self) -> Result<Option<String>, ProvisionError> {
        let name = self.profile_name();
        let settings = read(&self.environment, "AWS_CONFIG_FILE", ".aws/config", &name).await?;
        Ok(settings.and_then(|(_, settings)| settings.get("region").cloned()))
    }
}

impl Keys {
    fn has_run_out(&self) -> bool {
        self.ends_ms
            .is_some_and(|ends_ms| ends_ms <= clock::now_ms())
    }
}

/// The settings of a profile in one of the files, with the file's name.
async fn read(
    environment: &Environment,
    variable: &str,
    otherwise: &str,
    name: &str,
) -> Result<Option<(String, profile::Profile)>, ProvisionError> {
    let Some(path) = environment.file(variable, otherwise) else {
        return Ok(None);
    };
    let (shown, name) = (path.display().to_string(), name.to_owned());
    let read = tokio::task::spawn_blocking(move || profile::read(&path, &name)).await;
    let read = read.map_err(ProvisionError::unavailable)?;
    let settings =
        read.map_err(|why| ProvisionError::denied(format!("the file of profiles: {why}")))?;
    Ok(settings.map(|settings| (shown, settings)))
}

fn none(why: Option<ProvisionError>) -> ProvisionError {
    let tried = "no credentials for aws: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write a profile into \
                 ~/.aws/credentials, or give this machine a role";
    match why {
        // It may answer again.
        Some(why) => ProvisionError::unavailable(format!("{tried} ({why})")),
        None => ProvisionError::denied(tried),
    }
}
