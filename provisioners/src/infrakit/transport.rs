//! Bytes to a plugin and back, over HTTP on its socket.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::http::{Http, HttpConfig, Request};
use crate::{Deadline, ProvisionError};

/// Clients that are kept: one for each address of a plugin. There are a handful.
const CLIENTS_MAX: usize = 64;

/// Whether a call changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It only reads, so it may be repeated.
    Reads,
    /// It may have done something whenever its answer is missing.
    Changes,
}

/// The clients of all plugins, by their addresses.
#[derive(Debug, Default)]
pub(super) struct Transport(Mutex<BTreeMap<String, Http>>);

impl Transport {
    /// Sends the bytes of a question, and gives those of the answer; `what` is being done.
    pub(super) async fn post(
        &self,
        url: &str,
        body: Vec<u8>,
        (what, effect): (&str, Effect),
        deadline: Deadline,
    ) -> Result<Vec<u8>, ProvisionError> {
        let client = self.client(url)?;
        let request = Request::post(what, "/").body("application/json", body);
        let answer = match effect {
            Effect::Reads => client.call(&request.reading(), deadline).await?,
            Effect::Changes => client.call(&request, deadline).await?,
        };
        Ok(answer.body)
    }

    fn client(&self, url: &str) -> Result<Http, ProvisionError> {
        // Only whole entries are put in, so whoever panicked left it in order.
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(url) {
            return Ok(client.clone());
        }
        let client = HttpConfig::new(url).build()?;
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(url.to_owned(), client.clone());
        Ok(client)
    }
}
