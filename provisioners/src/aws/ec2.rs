//! Asking EC2.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::clock;
use super::config::{self, AwsConfig};
use super::credentials::Credentials;
use super::metadata::Metadata;
use super::query::Query;
use super::refusal::Failure;
use super::sign::{FORM, Letter, signed};
use super::xml::Node;
use crate::http::{Http, Request, retried};
use crate::{Deadline, ProvisionError};

/// How long what only reads is asked again while EC2 can't be reached or asks for fewer requests: whoever asked comes again
/// by its own back-off.
const AGAIN_FOR: Duration = Duration::from_secs(4);

/// The pages of a list that are read: a million machines.
const PAGES_MAX: usize = 1000;

/// The access keys whose account is remembered.
const ACCOUNTS_MAX: usize = 1000;

/// Entries of one page: the most that EC2 gives.
const PAGE: usize = 1000;

/// Does what comes before anything is sent to EC2, so that running out of time leaves nothing unknown: a file's server may hang,
/// and others may wait for the same.
async fn before_asking<T>(
    deadline: Deadline,
    call: impl Future<Output = Result<T, ProvisionError>>,
) -> Result<T, ProvisionError> {
    let done = deadline.limit("finding out where and as whom EC2 is asked", call);
    done.await.map_err(|error| match error {
        ProvisionError::Timeout(what) => {
            ProvisionError::unavailable(format!("no answer in time while {what}"))
        }
        other => other,
    })
}

/// A client of EC2 in one region.
#[derive(Debug)]
pub(super) struct Ec2 {
    config: AwsConfig,
    metadata: Option<Metadata>,
    credentials: Credentials,
    place: OnceCell<Place>,
    /// The account of each access key, which has only one, as EC2's answers told it.
    accounts: Mutex<BTreeMap<String, String>>,
}

/// Which region is asked, and how.
#[derive(Debug)]
struct Place {
    http: Http,
    region: String,
}

impl Ec2 {
    pub(super) fn new(config: AwsConfig) -> Result<Self, ProvisionError> {
        let metadata = config.metadata()?;
        let credentials = Credentials::new(
            config.environment.clone(),
            config.profile.clone(),
            metadata.clone(),
        );
        Ok(Self {
            config,
            metadata,
            credentials,
            place: OnceCell::new(),
            accounts: Mutex::default(),
        })
    }

    /// Found out at the first call that can: whoever would tell may not be there when the agent starts.
    async fn place(&self, deadline: Deadline) -> Result<&Place, ProvisionError> {
        let find = async || {
            let region = self.find_region(deadline).await?;
            let http = self.config.http(&region);
            // It reads the files of certificates.
            let http = tokio::task::spawn_blocking(move || http.build()).await;
            let http = http.map_err(ProvisionError::unavailable)??;
            Ok(Place { http, region })
        };
        before_asking(deadline, self.place.get_or_try_init(find)).await
    }

    /// The region that is asked.
    pub(super) async fn region(&self, deadline: Deadline) -> Result<&str, ProvisionError> {
        Ok(&self.place(deadline).await?.region)
    }

    async fn find_region(&self, deadline: Deadline) -> Result<String, ProvisionError> {
        if let Some(region) = self.config.named_region() {
            return config::checked(region);
        }
        if let Some(region) = self.credentials.region().await? {
            return config::checked(region);
        }
        let told = match &self.metadata {
            Some(metadata) => metadata.region(deadline).await?,
            None => None,
        };
        told.map_or_else(|| Err(config::no_region_named()), config::checked)
    }

    /// Asks, and gives the answer's outermost element. What only reads is asked again for a while; nothing else is, except
    /// with other credentials after the first were refused.
    pub(super) async fn ask(&self, query: &Query, deadline: Deadline) -> Result<Node, Failure> {
        if !query.reads {
            return self.once(query, deadline).await;
        }
        // A refusal that is no reason to ask again is the caller's, in EC2's own words.
        let refused = Mutex::new(None);
        let answer = retried(deadline.at_most(AGAIN_FOR), || async {
            self.once(query, deadline).await.map_err(|failure| {
                *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
                ProvisionError::from(failure)
            })
        })
        .await;
        answer.map_err(|error| {
            let refused = refused.into_inner().unwrap_or_else(PoisonError::into_inner);
            refused.unwrap_or(Failure::Broken(error))
        })
    }

    async fn once(&self, query: &Query, deadline: Deadline) -> Result<Node, Failure> {
        match self.signed_by(query, false, deadline).await {
            Err(failure) if failure.wants_other_credentials() => {
                self.signed_by(query, true, deadline).await
            }
            answer => answer,
        }
    }

    async fn signed_by(
        &self,
        query: &Query,
        fresh: bool,
        deadline: Deadline,
    ) -> Result<Node, Failure> {
        let Place { http, region } = self.place(deadline).await?;
        let keys = before_asking(deadline, self.credentials.get(fresh, deadline)).await?;
        let body = query.body();
        let mut request = Request::post(&query.what, "/").body(FORM, body.clone());
        if query.reads {
            request = request.reading();
        }
        let letter = Letter {
            url: http.base().as_str(),
            region,
            body: &body,
        };
        let request = signed(request, &letter, &keys, clock::now())?;
        let answer = http.send(&request, deadline).await?;
        if !answer.status.is_success() {
            let account = self.account_of(&keys.id);
            let failure = Failure::of(answer, query.reads).said_to(account);
            if failure.wants_other_credentials() {
                tracing::warn!(
                    key = keys.id,
                    from = keys.from,
                    code = failure.code(),
                    "EC2 refuses the credentials"
                );
            }
            return Err(failure);
        }
        let said = query.understand(&answer.body);
        let said = said.map_err(|why| Failure::Broken(answer.not_understood(why)))?;
        if let Some(account) = query.account(&said) {
            self.learn(keys.id, account);
        }
        Ok(said)
    }

    fn account_of(&self, key: &str) -> Option<String> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get(key).cloned()
    }

    fn learn(&self, key: String, account: String) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of roles change every few hours: what is forgotten is learnt again.
        if accounts.len() >= ACCOUNTS_MAX {
            accounts.clear();
        }
        accounts.insert(key, account);
    }

    /// Asks for all pages of a list, and gives what stands in each below `path`.
    pub(super) async fn list(
        &self,
        query: &Query,
        path: &str,
        deadline: Deadline,
    ) -> Result<Vec<Node>, Failure> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = query
                .clone()
                .with("MaxResults", PAGE)
                .maybe("NextToken", token.as_deref());
            let answer = self.ask(&page, deadline).await?;
            all.extend(answer.items(path).cloned());
            match answer.text("nextToken") {
                None => return Ok(all),
                // It would be the same page for ever.
                Some(next) if token.as_deref() == Some(next) => break,
                Some(next) => token = Some(next.to_owned()),
            }
        }
        let why = format!("{}: the list has no end", query.what);
        Err(ProvisionError::failed(why).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_hangs_before_anything_is_sent_ends_with_nothing_done() {
        let deadline = Deadline::after(Duration::from_secs(3));
        let hung = before_asking(deadline, std::future::pending::<Result<(), _>>()).await;
        assert!(
            matches!(hung, Err(ProvisionError::Unavailable(_))),
            "{hung:?}"
        );
        assert!(deadline.has_passed());
    }
}
