//! The HTTP client, made anew when the files that it was made from change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::config::LxdConfig;
use crate::http::{Http, HttpConfig, Trust};
use crate::{Deadline, Problem, ProvisionError};

/// Makes a client when it is needed: credentials that come later, or are renewed, count without a restart.
#[derive(Debug, Clone)]
pub(super) struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: LxdConfig,
    made: Mutex<Option<Made>>,
}

/// A client, and from what it was made.
#[derive(Debug)]
struct Made {
    from: (HttpConfig, Vec<Option<SystemTime>>),
    http: Http,
}

impl Client {
    pub(super) fn new(config: LxdConfig) -> Self {
        Self(Arc::new(Inner {
            config,
            made: Mutex::new(None),
        }))
    }

    /// The client for now. A file system that hangs holds up nothing else.
    pub(super) async fn http(&self, deadline: Deadline) -> Result<Http, ProvisionError> {
        let inner = Arc::clone(&self.0);
        let made = tokio::task::spawn_blocking(move || inner.http());
        let why = match tokio::time::timeout(deadline.remaining(), made).await {
            Ok(Ok(http)) => return http,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        // Nothing has been sent yet.
        Err(ProvisionError::unavailable(format!(
            "reading the files of the certificate: {why}"
        )))
    }
}

impl Inner {
    /// Files are read only if they have changed.
    fn http(&self) -> Result<Http, ProvisionError> {
        let config = self.config.http()?;
        let written = files(&config).map(|path| written(&path)).collect();
        let from = (config, written);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| made.from == from) {
            return Ok(made.http.clone());
        }
        let http = from.0.build().map_err(denied)?;
        *made = Some(Made {
            from,
            http: http.clone(),
        });
        Ok(http)
    }
}

/// All that is configured has been checked, so what is wrong now is in the files.
fn denied(error: ProvisionError) -> ProvisionError {
    match error {
        ProvisionError::Invalid(problems) => {
            let all: Vec<_> = problems.iter().map(Problem::to_string).collect();
            ProvisionError::denied(all.join("; "))
        }
        other => other,
    }
}

fn files(config: &HttpConfig) -> impl Iterator<Item = PathBuf> {
    let authority = match &config.trust {
        Trust::Authority(path) => Some(path.clone()),
        _ => None,
    };
    let shown = config.certificate.clone();
    let shown = shown
        .into_iter()
        .flat_map(|(certificate, key)| [certificate, key]);
    authority.into_iter().chain(shown)
}

fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}
