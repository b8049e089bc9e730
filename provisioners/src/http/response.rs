//! What a back end answered.

use super::{DeserializeOwned, Duration, HeaderMap, ProvisionError, Request, StatusCode};

/// How much of an error's text is looked at: bodies of errors are often whole pages.
const REASON_BYTES_MAX: usize = 400;
/// The longest pause that a back end may ask for; a wrong clock or unit must not stop healing for hours.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// What was being done.
    pub what: String,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    reads: bool,
}

impl Response {
    /// The usual reading of the status: itself if it is 2xx, otherwise an error.
    ///
    /// # Errors
    /// [`ProvisionError::Denied`] for 401 and 403, [`ProvisionError::Throttled`] for 429 and for 503 with `Retry-After`,
    /// [`ProvisionError::Unavailable`] for 502, 503 and 504 of a request that only reads and for 503, [`ProvisionError::Timeout`]
    /// (outcome unknown) for all other 5xx of one that changes something, [`ProvisionError::Failed`] for the rest.
    pub fn accepted(self) -> Result<Self, ProvisionError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let said = || format!("{}: {} {}", self.what, self.status.as_u16(), self.reason());
        Err(match self.status.as_u16() {
            401 | 403 => ProvisionError::denied(said()),
            429 => ProvisionError::Throttled {
                retry_after: self.retry_after(),
            },
            503 if self.retry_after().is_some() => ProvisionError::Throttled {
                retry_after: self.retry_after(),
            },
            503 => ProvisionError::unavailable(said()),
            500..=599 if self.reads => ProvisionError::unavailable(said()),
            500..=599 => ProvisionError::timeout(said()),
            _ => ProvisionError::failed(said()),
        })
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`ProvisionError::Unavailable`] if it is none, for a request that only reads, otherwise [`ProvisionError::Timeout`]: something that
    /// is not the back end may have answered.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ProvisionError> {
        serde_json::from_slice(&self.body).map_err(|error| self.not_understood(error))
    }

    /// The error for an answer that can't be what the back end means to say.
    pub fn not_understood(&self, why: impl std::fmt::Display) -> ProvisionError {
        let said = format!("{}: the answer is not understood: {why}", self.what);
        if self.reads {
            ProvisionError::unavailable(said)
        } else {
            ProvisionError::timeout(said)
        }
    }

    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the back end asks to wait (RFC 9110, section 10.2.3; only the form in seconds), at most five minutes.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
    }

    /// The beginning of the body on one line, for people.
    pub fn reason(&self) -> String {
        let start = &self.body[..self.body.len().min(REASON_BYTES_MAX)];
        let text = String::from_utf8_lossy(start);
        let clean = text.replace(char::is_control, " ");
        clean.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// Reads an answer, up to `limit` bytes of body.
pub(super) async fn read(
    mut incoming: reqwest::Response,
    request: &Request,
    limit: usize,
) -> Result<Response, ProvisionError> {
    let (status, headers) = (incoming.status(), incoming.headers().clone());
    let mut body = Vec::new();
    while let Some(chunk) = incoming
        .chunk()
        .await
        .map_err(|error| request.broken(&error))?
    {
        if body.len() + chunk.len() > limit {
            let why = format!("the answer is longer than {limit} bytes");
            return Err(if request.only_reads() {
                ProvisionError::failed(format!("{}: {why}", request.what))
            } else {
                request.cut_off(&why)
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response {
        what: request.what.clone(),
        status,
        headers,
        body,
        reads: request.only_reads(),
    })
}
