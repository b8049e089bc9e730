//! How a new machine gets its agent's configuration, which holds its join token.
//!
//! A controller can tell a node what to start from, and nothing else. So the configuration is put where the node's system can
//! fetch it, under a key that nobody can guess and that stands in the address that the node starts from. Where the node is
//! told no address (PXE, its own disk), the key is the address of its network card.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::inventory::{BootMethod, Node};
use crate::http::{Http, Request};
use crate::{Deadline, Fields, MachineSpec, OperationId, Problem, ProvisionError};

/// The name of the configuration below its key.
pub(super) const FILE: &str = "agent.toml";

/// Bytes of a hash that a key shows: 160 bits.
const KEY_BYTES: usize = 20;

/// The longest address; some controllers take no more.
const ADDRESS_BYTES_MAX: usize = 1024;

/// What may stand in an address to start from.
const WORDS: [&str; 4] = ["{key}", "{node}", "{mac}", "{operation}"];

/// An address with places for words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(String);

/// Where configurations are put.
#[derive(Debug, Clone)]
pub(super) enum Store {
    /// A directory that something serves to the nodes.
    Directory(PathBuf),
    /// A server that takes them by `PUT` and forgets them by `DELETE`.
    Http(Http),
}

impl Template {
    /// Reads one, and checks that it says nothing unknown. Pure.
    pub(super) fn take(fields: &mut Fields<'_>, name: &str) -> Option<Self> {
        let text = fields.string(name)?;
        match Self::read(&text) {
            Ok(template) => Some(template),
            Err(reason) => {
                let remedy = format!(
                    "write `http://…` or `https://…`, with {} where they belong",
                    WORDS.join(" ")
                );
                fields.problem(name, reason, remedy);
                None
            }
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut rest = text.to_owned();
        for word in WORDS {
            rest = rest.replace(word, "");
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err("no address of a web server".to_owned());
        }
        if rest.contains(['{', '}']) {
            return Err("it has a place for an unknown word".to_owned());
        }
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        if text.len() > ADDRESS_BYTES_MAX || !text.bytes().all(is_plain) {
            return Err(format!(
                "no printable address of at most {ADDRESS_BYTES_MAX} bytes"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The address for one machine.
    pub(super) fn fill(&self, node: &Node, key: &str, op: &OperationId) -> String {
        let mac = node.mac.as_deref().unwrap_or_default().replace(':', "-");
        self.0
            .replace("{key}", key)
            .replace("{node}", &node.name)
            .replace("{mac}", &mac)
            .replace("{operation}", op.as_str())
    }

    fn names_key(&self) -> bool {
        self.0.contains("{key}")
    }
}

/// Under what a machine's configuration is put: what only its address to start from says, or its network card's address.
///
/// # Errors
/// Where the node could not find it.
pub(super) fn key(
    node: &Node,
    boot: BootMethod,
    address: Option<&Template>,
    (spec, op): (&MachineSpec, &OperationId),
) -> Result<String, ProvisionError> {
    if boot.takes_address() && address.is_some_and(Template::names_key) {
        return Ok(secret_key(spec, op));
    }
    card_key(node).ok_or_else(|| {
        ProvisionError::Invalid(vec![Problem::new(
            format!("nodes.{}.mac", node.name),
            "the node's system could not find its configuration",
            "write the address of the network card that it starts from",
        )])
    })
}

fn card_key(node: &Node) -> Option<String> {
    node.mac.as_ref().map(|mac| mac.replace(':', "-"))
}

/// How the keys of what an operation makes begin.
fn beginning(op: &OperationId) -> String {
    format!("{op}-")
}

/// The same for every coordinator, and for nobody who does not know the token.
fn secret_key(spec: &MachineSpec, op: &OperationId) -> String {
    let mut hash = Sha256::new();
    hash.update(b"muster boot key 1\0");
    hash.update(op.as_str());
    hash.update(spec.boot.join_token.expose());
    let secret = data_encoding::HEXLOWER.encode(&hash.finalize()[..KEY_BYTES]);
    beginning(op) + &secret
}

/// A text without the key of an operation, whole or cut, which a controller repeats from the address that it was told.
pub(super) fn without_key(text: &str, op: &OperationId) -> String {
    let beginning = beginning(op);
    let mut parts = text.split(&beginning);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_hexdigit());
        clean = clean + &beginning + "***" + rest;
    }
    clean
}

impl Store {
    /// Puts a configuration there, in place of one that is there.
    pub(super) async fn put(
        &self,
        key: &str,
        text: &str,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let what = "storing the agent's configuration";
        match self {
            Self::Directory(root) => {
                let (root, key, text) = (root.clone(), key.to_owned(), text.to_owned());
                let write = move || write(&root, &key, &text);
                blocking(what, deadline, write).await
            }
            Self::Http(http) => {
                let request = Request::new(what, reqwest::Method::PUT, format!("{key}/{FILE}"))
                    .body("application/toml", text);
                let stored = http.send(&request, deadline).await;
                // To store it twice is to store it: whether it was is not worth a word.
                stored
                    .and_then(crate::http::Response::accepted)
                    .map(|_| ())
                    .map_err(settled)
            }
        }
    }

    /// Takes away what was put for the machines that operations made on a node. Of what a server has, only what stands under a network
    /// card's address: it can't be asked which other keys there are, and has to forget them by itself.
    pub(super) async fn forget(
        &self,
        node: &Node,
        ops: &[OperationId],
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let what = "removing an agent's configuration";
        let card = card_key(node);
        match (self, card) {
            (Self::Directory(root), card) => {
                let beginnings: Vec<_> = ops.iter().map(beginning).collect();
                let root = root.clone();
                let is_it = move |name: &str| {
                    Some(name) == card.as_deref()
                        || beginnings.iter().any(|one| name.starts_with(one.as_str()))
                };
                blocking(what, deadline, move || remove(&root, is_it)).await
            }
            (Self::Http(_), None) => Ok(()),
            (Self::Http(http), Some(key)) => {
                let request = Request::new(what, reqwest::Method::DELETE, format!("{key}/{FILE}"));
                match http.send(&request, deadline).await?.status.as_u16() {
                    200..=299 | 404 | 410 => Ok(()),
                    status => Err(ProvisionError::unavailable(format!("{what}: {status}"))),
                }
            }
        }
    }

    /// Whether a directory is there; a server is asked when it is needed.
    pub(super) async fn check(&self, deadline: Deadline) -> Result<(), ProvisionError> {
        let Self::Directory(root) = self else {
            return Ok(());
        };
        let root = root.clone();
        let look = move || std::fs::read_dir(&root).map(|_| ());
        blocking("looking at `boot_store`", deadline, look).await
    }
}

/// What goes wrong before a node is switched on has done nothing that matters.
fn settled(error: ProvisionError) -> ProvisionError {
    match error {
        ProvisionError::Timeout(why) => ProvisionError::Unavailable(why),
        other => other,
    }
}

/// Whole or not at all, and for the owner and the group: the token in it is a secret.
fn write(root: &Path, key: &str, text: &str) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let directory = root.join(key);
    match std::fs::create_dir(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Another call of the same operation may write it at the same moment.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let new = directory.join(format!(".{}-{number}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(&new)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, directory.join(FILE))
}

/// Removes the directories of some names.
fn remove(root: &Path, is_it: impl Fn(&str) -> bool) -> io::Result<()> {
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(&is_it) {
            continue;
        }
        match std::fs::remove_dir_all(entry.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn blocking(
    what: &str,
    deadline: Deadline,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), ProvisionError> {
    let work = async {
        let done = tokio::task::spawn_blocking(work).await;
        let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|error| ProvisionError::unavailable(format!("{what}: {error}")))
    };
    deadline.limit(what, work).await.map_err(settled)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::inventory::Inventory;
    use super::*;
    use crate::{Properties, Secret};

    /// What was put, by key.
    fn listed(root: &Path) -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(root).expect("readable").flatten();
        let read = |entry: std::fs::DirEntry| {
            let text = std::fs::read_to_string(entry.path().join(FILE)).expect("readable");
            (entry.file_name().to_string_lossy().into_owned(), text)
        };
        entries.map(read).collect()
    }

    fn node() -> Node {
        let text = "[nodes.n1]\ncontroller = \"https://n1\"\nmac = \"52:54:00:00:00:01\"\nboot = \"media\"\n";
        Inventory::read(text).expect("valid").nodes["n1"].clone()
    }

    fn spec(token: &str) -> MachineSpec {
        let mut spec = MachineSpec::new("m", Properties::new());
        spec.boot.join_token = Secret::new(token);
        spec
    }

    fn op() -> OperationId {
        OperationId::derive("c", "g", "m", 1, "provision")
    }

    #[test]
    fn the_key_is_the_same_for_whoever_knows_the_token() {
        let template = Template::read("http://b/{key}/{node}/{mac}?op={operation}").expect("valid");
        let key_of = |boot, token: &str| key(&node(), boot, Some(&template), (&spec(token), &op()));
        let one = key_of(BootMethod::Media, "t").expect("a key");
        assert_eq!(key_of(BootMethod::Http, "t").as_ref(), Ok(&one));
        assert_ne!(key_of(BootMethod::Media, "u").as_ref(), Ok(&one));
        assert_eq!(
            key_of(BootMethod::Pxe, "t").as_deref(),
            Ok("52-54-00-00-00-01")
        );
        assert_eq!(one.len(), op().as_str().len() + 1 + 2 * KEY_BYTES);
        let address = template.fill(&node(), &one, &op());
        assert_eq!(
            address,
            format!("http://b/{one}/n1/52-54-00-00-00-01?op={}", op())
        );
        let said = format!("can't fetch http://b/{one}/x, nor http://b/{}", &one[..50]);
        let clean = without_key(&said, &op());
        let expected = format!("can't fetch http://b/{0}-***/x, nor http://b/{0}-***", op());
        assert_eq!(clean, expected);
        let bare = Node {
            mac: None,
            ..node()
        };
        assert!(key(&bare, BootMethod::Pxe, None, (&spec("t"), &op())).is_err());
    }

    #[tokio::test]
    async fn a_configuration_is_put_anew_and_taken_away_twice() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::Directory(directory.path().into());
        let soon = Deadline::after(Duration::from_secs(10));
        store.check(soon).await.expect("it is there");
        let key = format!("{}-secret", op());
        for text in ["one", "two"] {
            store.put(&key, text, soon).await.expect("stored");
            assert_eq!(
                listed(directory.path()),
                BTreeMap::from([(key.clone(), text.to_owned())])
            );
        }
        store
            .put("52-54-00-00-00-01", "by its card", soon)
            .await
            .expect("stored");
        store.put("another", "stays", soon).await.expect("stored");
        for _ in 0..2 {
            store.forget(&node(), &[op()], soon).await.expect("removed");
        }
        let left = listed(directory.path());
        assert_eq!(
            left,
            BTreeMap::from([("another".to_owned(), "stays".to_owned())])
        );
        let nowhere = Store::Directory(directory.path().join("none"));
        assert!(nowhere.check(soon).await.is_err());
        assert!(
            nowhere
                .put("k", "x", soon)
                .await
                .expect_err("no directory")
                .is_retryable()
        );
    }
}
