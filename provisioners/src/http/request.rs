//! What is asked of a back end.

use super::{HeaderMap, HeaderName, HeaderValue, Method, ProvisionError, Url};

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) what: String,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
    reads: bool,
}

impl Request {
    /// A request for `path`, below the client's base; `what` is being done says errors, such as `listing the instances`.
    pub fn new(what: impl Into<String>, method: Method, path: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            reads: method.is_safe(),
            method,
            path: path.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: None,
        }
    }

    /// A `GET`.
    pub fn get(what: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(what, Method::GET, path)
    }

    /// A `POST`.
    pub fn post(what: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(what, Method::POST, path)
    }

    /// Says that it changes nothing although its method might: APIs that ask everything by `POST`.
    #[must_use]
    pub fn reading(mut self) -> Self {
        self.reads = true;
        self
    }

    /// Adds a parameter of the query.
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Sets a header. One that can't stand in a request (control characters) is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets a header that must not be seen in logs.
    #[must_use]
    pub fn secret_header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(value) {
            value.set_sensitive(true);
            self.headers.insert(name, value);
        }
        self
    }

    /// Sets the body, of a media type.
    #[must_use]
    pub fn body(self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let mut this = self.header(reqwest::header::CONTENT_TYPE, media_type);
        this.body = Some(body.into());
        this
    }

    /// Sets a body in JSON.
    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// Whether it changes nothing, so that it may be repeated.
    pub fn only_reads(&self) -> bool {
        self.reads
    }

    /// The whole address: the path below that of `base`.
    pub(super) fn url(&self, base: &Url) -> Url {
        let mut url = base.clone();
        let (path, query) = match self.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path.as_str(), None),
        };
        let whole = format!(
            "{}/{}",
            base.path().trim_end_matches('/'),
            path.trim_start_matches('/')
        );
        url.set_path(&whole);
        url.set_query(query);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }

    /// What a broken exchange means for this request.
    pub(super) fn broken(&self, error: &reqwest::Error) -> ProvisionError {
        let why = innermost(error);
        if error.is_connect() {
            ProvisionError::unavailable(format!("{}: no connection: {why}", self.what))
        } else if error.is_builder() {
            ProvisionError::failed(format!("{}: {why}", self.what))
        } else {
            self.cut_off(&why)
        }
    }

    /// What it means that the answer did not come whole.
    pub(super) fn cut_off(&self, why: &str) -> ProvisionError {
        if self.reads {
            ProvisionError::unavailable(format!("{}: {why}", self.what))
        } else {
            ProvisionError::timeout(format!("{} ({why})", self.what))
        }
    }
}

/// The cause that says most: the outer ones only name the layer. It never holds the address, which may hold a secret.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::addr_eq(cause, error) {
        "the request failed".to_owned()
    } else {
        cause.to_string()
    }
}
