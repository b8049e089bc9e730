//! The HTTP client, made anew when the files that it was made from change.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::config::LxdConfig;
use crate::http::{Http, HttpConfig, Trust};
use crate::{Problem, ProvisionError};

/// Makes a client when it is needed: credentials that come later, or are renewed, count without a restart.
#[derive(Debug)]
pub(super) struct Client {
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
        Self {
            config,
            made: Mutex::new(None),
        }
    }

    /// The client for now. Files are read only if they have changed.
    pub(super) fn http(&self) -> Result<Http, ProvisionError> {
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
