//! The one HTTP client of all back ends that are asked over HTTP.
//!
//! What they share is what is easily got wrong: a call ends by its [`Deadline`], an answer is read no further than a limit,
//! nothing follows a redirect with credentials in hand, and an error says whether anything may have been done
//! ([`ProvisionError::is_outcome_unknown`]). What a status means is for the back end to say; [`Response::accepted`] is the
//! usual reading (RFC 9110, section 15).

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;

use crate::{Deadline, Problem, ProvisionError};

mod request;
mod response;
mod retry;
mod tls;

pub use request::Request;
pub use response::Response;
pub use retry::retried;
pub use tls::Trust;

/// The longest answer that is read. Lists of thousands of machines come in pages that are far smaller.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long a connection may take to be made; the deadline of the call may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is kept for the next call. A leader that waits for a machine asks every few seconds.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
const IDLE_CONNECTIONS_MAX: usize = 2;

/// Where a back end is asked, and how it is known to be the one that is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpConfig {
    /// `http://host:port/path`, `https://host:port/path` or `unix:///path/of/socket`.
    pub base: String,
    /// Whom to trust, for `https`.
    pub trust: Trust,
    /// Files (PEM) of the certificate to show and its key, for `https`.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are followed.
    pub use_proxy: bool,
}

impl HttpConfig {
    /// A back end at `base`, with the system's certificate authorities and no proxy.
    pub fn new(base: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            ..Self::default()
        }
    }

    /// What is wrong with it, under the name `field`. Pure.
    pub fn validate(&self, field: &str) -> Option<Problem> {
        Target::read(&self.base)
            .err()
            .map(|reason| Problem::new(field, reason, BASE_REMEDY))
    }

    /// Makes the client: reads the files of certificates.
    ///
    /// # Errors
    /// [`ProvisionError::Invalid`] for an address or a file that can't be used.
    pub fn build(&self) -> Result<Http, ProvisionError> {
        let invalid = |field: &str, reason: String, remedy: &str| {
            ProvisionError::Invalid(vec![Problem::new(field, reason, remedy)])
        };
        let target =
            Target::read(&self.base).map_err(|reason| invalid("endpoint", reason, BASE_REMEDY))?;
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")));
        if !self.use_proxy {
            builder = builder.no_proxy();
        }
        if let Some(socket) = &target.socket {
            builder = builder.unix_socket(socket.clone());
        }
        // The client wants one in any case; without `https` it is never asked, and the system's authorities are not read.
        let tls = tls::config(target.base.scheme() == "https", self).map_err(|why| {
            invalid(
                "trust",
                why,
                "name files in PEM format that the agent may read",
            )
        })?;
        let client = builder
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| ProvisionError::failed(format!("no HTTP client: {error}")))?;
        Ok(Http {
            client,
            base: target.base,
        })
    }
}

const BASE_REMEDY: &str =
    "write `https://host:port`, `http://host:port` or `unix:///path/of/the/socket`";

/// An address as it was read.
struct Target {
    base: Url,
    socket: Option<PathBuf>,
}

impl Target {
    fn read(base: &str) -> Result<Self, String> {
        if let Some(path) = base.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(format!("`{base}` names no absolute path of a socket"));
            }
            return Ok(Self {
                base: Url::parse("http://localhost/").expect("valid"),
                socket: Some(path.into()),
            });
        }
        let url = Url::parse(base).map_err(|error| format!("`{base}` is no address: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(format!("`{base}` is neither `http` nor `https` nor `unix`"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("credentials don't belong into an address".to_owned());
        }
        Ok(Self {
            base: url,
            socket: None,
        })
    }
}

/// A client of one back end. Cheap to clone; connections are shared.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    base: Url,
}

impl Http {
    /// The address that requests are relative to; of a Unix socket `http://localhost/`.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// A client of another back end that is known in the same way: it shares what was read of certificates, and the connections.
    ///
    /// # Errors
    /// [`ProvisionError::Invalid`] for an address that can't be used; that of a Unix socket can't.
    pub fn at(&self, base: &str) -> Result<Self, ProvisionError> {
        let target = Target::read(base).and_then(|target| match target.socket {
            None => Ok(target.base),
            Some(_) => Err("a socket has a client of its own".to_owned()),
        });
        let base = target.map_err(|reason| {
            ProvisionError::Invalid(vec![Problem::new("endpoint", reason, BASE_REMEDY)])
        })?;
        Ok(Self {
            client: self.client.clone(),
            base,
        })
    }

    /// Sends one request, once, and reads the answer whole, whatever its status.
    ///
    /// # Errors
    /// [`ProvisionError::Unavailable`] if no connection came about, or if a request that only reads got no whole answer;
    /// [`ProvisionError::Timeout`] (outcome unknown) if any other got none, and at the deadline; [`ProvisionError::Failed`]
    /// for an answer that is too long to a request that only reads.
    pub async fn send(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Response, ProvisionError> {
        deadline.limit(&request.what, self.exchange(request)).await
    }

    /// [`send`](Self::send), with the usual reading of the status: [`Response::accepted`]. A request that only reads is
    /// repeated with growing pauses while its error [may pass](ProvisionError::is_retryable), until the deadline.
    ///
    /// # Errors
    /// See [`send`](Self::send) and [`Response::accepted`].
    pub async fn call(
        &self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<Response, ProvisionError> {
        if request.only_reads() {
            retried(deadline, || async {
                self.send(request, deadline).await?.accepted()
            })
            .await
        } else {
            self.send(request, deadline).await?.accepted()
        }
    }

    async fn exchange(&self, request: &Request) -> Result<Response, ProvisionError> {
        let url = request.url(&self.base);
        let mut outgoing = self.client.request(request.method.clone(), url);
        outgoing = outgoing.headers(request.headers.clone());
        if let Some(body) = &request.body {
            outgoing = outgoing.body(body.clone());
        }
        let incoming = outgoing.send().await;
        let incoming = incoming.map_err(|error| request.broken(&error))?;
        response::read(incoming, request, ANSWER_BYTES_MAX).await
    }
}

#[cfg(test)]
mod tests;
