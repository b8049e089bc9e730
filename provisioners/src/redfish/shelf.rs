//! The inventory as it is now, and a controller for each of its nodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::bmc::Bmc;
use super::controller::{Controller, Credentials};
use super::inventory::{Address, Inventory, Node};
use super::ipmi::Ipmi;
use crate::http::{Http, HttpConfig, Trust};
use crate::{Deadline, ProvisionError, Secret};

/// The longest file that is read: an inventory of thousands of nodes takes about one MB.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Reads the inventory anew whenever it or a file of credentials has changed.
#[derive(Debug)]
pub(super) struct Shelf {
    path: PathBuf,
    ipmitool: String,
    known: Mutex<Option<Known>>,
}

/// What was read last.
#[derive(Debug, Clone)]
struct Known {
    files: Files,
    rack: Arc<Rack>,
    /// What is wrong with the newest version, if this is an older one.
    outdated: Option<String>,
}

/// The text of the inventory, and of each file that it names.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    inventory: String,
    credentials: BTreeMap<PathBuf, Result<String, String>>,
}

/// The nodes of one version of the inventory.
#[derive(Debug)]
pub(super) struct Rack {
    pub(super) inventory: Inventory,
    credentials: BTreeMap<PathBuf, Result<Credentials, String>>,
    ipmitool: String,
    made: Mutex<Made>,
}

/// What was made so far, each when it was first wanted.
#[derive(Debug, Default)]
struct Made {
    controllers: BTreeMap<String, Arc<dyn Controller>>,
    /// For each way of knowing a controller, with and without TLS, a client: to make one may mean to read all of the system's certificates.
    clients: Vec<(Trust, bool, Http)>,
}

// === impl Shelf ===

impl Shelf {
    pub(super) fn new(path: PathBuf, ipmitool: String) -> Self {
        Self {
            path,
            ipmitool,
            known: Mutex::new(None),
        }
    }

    /// The nodes as the inventory says now, or as it said when it last made sense.
    ///
    /// # Errors
    /// [`ProvisionError::Unavailable`] if it never did.
    pub(super) async fn rack(&self, deadline: Deadline) -> Result<Arc<Rack>, ProvisionError> {
        Ok(self.refresh(deadline).await?.rack)
    }

    /// Whether the inventory makes sense now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn check(&self, deadline: Deadline) -> Result<Arc<Rack>, ProvisionError> {
        let known = self.refresh(deadline).await?;
        known
            .outdated
            .map_or(Ok(known.rack), |why| Err(ProvisionError::failed(why)))
    }

    async fn refresh(&self, deadline: Deadline) -> Result<Known, ProvisionError> {
        let path = self.path.clone();
        let before = self.known();
        let work = async {
            let files = before.as_ref().map(|known| known.files.clone());
            let read = move || Files::read(&path, files.as_ref());
            let read = tokio::task::spawn_blocking(read).await;
            read.unwrap_or_else(|error| Err(error.to_string()))
                .map_err(ProvisionError::unavailable)
        };
        let read = deadline.limit("reading the inventory", work).await;
        let made = match read {
            Ok(files) if before.as_ref().is_some_and(|known| known.files == files) => Ok(None),
            Ok(files) => self.make(files, deadline).await.map(Some),
            Err(error) => Err(error.to_string()),
        };
        let known = match (made, before) {
            (Ok(None), Some(known)) => Known {
                outdated: None,
                ..known
            },
            (Ok(Some((files, rack))), _) => Known {
                files,
                rack: Arc::new(rack),
                outdated: None,
            },
            (Err(why), Some(known)) => {
                let why = format!(
                    "{}: {why}; an earlier version of it is used",
                    self.path.display()
                );
                if known.outdated.as_ref() != Some(&why) {
                    tracing::warn!(why, "the inventory can't be used");
                }
                Known {
                    outdated: Some(why),
                    ..known
                }
            }
            (Err(why), None) => {
                return Err(ProvisionError::unavailable(format!(
                    "{}: {why}",
                    self.path.display()
                )));
            }
            (Ok(None), None) => {
                return Err(ProvisionError::unavailable(
                    "the inventory was not read yet",
                ));
            }
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        Ok(known)
    }

    /// Makes the rack of some files, where the reading of certificates holds nobody up.
    async fn make(&self, files: Files, deadline: Deadline) -> Result<(Files, Rack), String> {
        let ipmitool = self.ipmitool.clone();
        let make = move || {
            let rack = Rack::make(&files, &ipmitool)?;
            rack.make_clients();
            Ok((files, rack))
        };
        let work = async {
            let made = tokio::task::spawn_blocking(make).await;
            Ok(made.unwrap_or_else(|error| Err(error.to_string())))
        };
        let made = deadline.limit("reading certificates", work).await;
        made.unwrap_or_else(|error| Err(error.to_string()))
    }

    fn known(&self) -> Option<Known> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Passwords are in them.
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

impl Files {
    /// Reads them; which there are is known of an inventory that has not changed.
    fn read(path: &Path, before: Option<&Self>) -> Result<Self, String> {
        let inventory = read(path)?;
        if let Some(before) = before.filter(|before| before.inventory == inventory) {
            let again = before
                .credentials
                .keys()
                .map(|path| (path.clone(), read(path)));
            return Ok(Self {
                credentials: again.collect(),
                inventory,
            });
        }
        let parsed = Inventory::read(&inventory);
        let nodes = parsed.as_ref().map(|inventory| inventory.nodes.values());
        let paths = nodes
            .into_iter()
            .flatten()
            .filter_map(|node| node.credentials.clone());
        let mut credentials = BTreeMap::new();
        for path in paths {
            credentials
                .entry(path)
                .or_insert_with_key(|path| read(path));
        }
        Ok(Self {
            inventory,
            credentials,
        })
    }
}

fn read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let size = file
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if size as u64 > FILE_BYTES_MAX {
        return Err(format!("it is longer than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

// === impl Rack ===

impl Rack {
    fn make(files: &Files, ipmitool: &str) -> Result<Self, String> {
        let inventory = Inventory::read(&files.inventory).map_err(|problems| {
            let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
            all.join("; ")
        })?;
        let understood = |(path, text): (&PathBuf, &Result<String, String>)| {
            (
                path.clone(),
                text.clone().and_then(|text| credentials(&text)),
            )
        };
        Ok(Self {
            inventory,
            credentials: files.credentials.iter().map(understood).collect(),
            ipmitool: ipmitool.to_owned(),
            made: Mutex::default(),
        })
    }

    /// Makes the clients that its controllers are going to share. What can't be made now is told when it is wanted.
    fn make_clients(&self) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        for node in self.inventory.nodes.values() {
            if let Address::Redfish { http, .. } = &node.controller
                && let Err(error) = made.client(http)
            {
                tracing::debug!(node = node.name, %error, "no client for its controller");
            }
        }
    }

    /// A node.
    ///
    /// # Errors
    /// If the inventory has none of this name (any more).
    pub(super) fn node(&self, name: &str) -> Result<&Node, ProvisionError> {
        self.inventory.nodes.get(name).ok_or_else(|| {
            ProvisionError::unavailable(format!(
                "the inventory has no node `{name}` any more; put it back until its machine is gone"
            ))
        })
    }

    /// A node's controller, the same one for all who ask.
    ///
    /// # Errors
    /// [`ProvisionError::Denied`] without usable credentials, and what is wrong with its address.
    pub(super) fn controller(&self, name: &str) -> Result<Arc<dyn Controller>, ProvisionError> {
        let node = self.node(name)?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(controller) = made.controllers.get(name) {
            return Ok(Arc::clone(controller));
        }
        let controller = self.make_controller(node, &mut made)?;
        let key = name.to_owned();
        made.controllers.insert(key, Arc::clone(&controller));
        Ok(controller)
    }

    fn make_controller(
        &self,
        node: &Node,
        made: &mut Made,
    ) -> Result<Arc<dyn Controller>, ProvisionError> {
        let credentials = match node.credentials.as_ref() {
            None => Credentials::default(),
            Some(path) => match self.credentials.get(path) {
                Some(Ok(credentials)) => credentials.clone(),
                Some(Err(why)) => {
                    return Err(ProvisionError::denied(format!(
                        "{}: {why}; write `username = \"…\"` and `password = \"…\"` into it",
                        path.display()
                    )));
                }
                None => {
                    return Err(ProvisionError::denied(format!(
                        "{} was not read",
                        path.display()
                    )));
                }
            },
        };
        Ok(match &node.controller {
            Address::Redfish { http, system } => {
                let http = made.client(http)?;
                Arc::new(Bmc::new(http, credentials, system.clone()))
            }
            Address::Ipmi(way) => Arc::new(Ipmi::new(&self.ipmitool, way.clone(), credentials)),
        })
    }
}

impl Made {
    fn client(&mut self, config: &HttpConfig) -> Result<Http, ProvisionError> {
        // A client that was made for an address without TLS knows no authorities.
        let is_tls = config.base.to_lowercase().starts_with("https:");
        let known = self
            .clients
            .iter()
            .find(|(trust, tls, _)| (trust, *tls) == (&config.trust, is_tls));
        if let Some((_, _, client)) = known {
            return client.at(&config.base);
        }
        let client = config.build()?;
        self.clients
            .push((config.trust.clone(), is_tls, client.clone()));
        Ok(client)
    }
}

/// What a file of credentials says. Errors don't show it.
fn credentials(text: &str) -> Result<Credentials, String> {
    let table: toml::Table = toml::from_str(text).map_err(|_| "it is no TOML".to_owned())?;
    let get = |key: &str| table.get(key).and_then(toml::Value::as_str);
    match (get("username"), get("password")) {
        (Some(username), Some(password)) if !username.contains(':') => Ok(Credentials {
            username: username.to_owned(),
            password: Secret::new(password),
        }),
        (Some(_), Some(_)) => Err("a colon can't stand in a name".to_owned()),
        _ => Err("name or password is missing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    #[tokio::test]
    async fn the_inventory_is_read_anew_and_a_bad_one_is_told_and_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("inventory.toml");
        let shelf = Shelf::new(path.clone(), "ipmitool".to_owned());
        assert!(
            shelf
                .rack(soon())
                .await
                .expect_err("no file")
                .is_retryable()
        );
        let secrets = directory.path().join("bmc.toml");
        let node = |name: &str| {
            format!(
                "[nodes.{name}]\ncontroller = \"http://{name}\"\ncredentials = \"{}\"\n",
                secrets.display()
            )
        };
        std::fs::write(&path, node("a")).expect("written");
        let rack = shelf.check(soon()).await.expect("read");
        let error = rack.controller("a").expect_err("no credentials");
        assert!(matches!(error, ProvisionError::Denied(_)), "{error}");
        std::fs::write(&secrets, "username = \"u\"\npassword = \"sesame\"").expect("written");
        let rack = shelf.rack(soon()).await.expect("read");
        let controller = rack.controller("a").expect("made");
        assert!(!format!("{controller:?} {shelf:?}").contains("sesame"));
        let again = shelf.rack(soon()).await.expect("read");
        assert!(Arc::ptr_eq(&rack, &again), "nothing has changed");

        std::fs::write(&path, node("a") + &node("b")).expect("written");
        assert_eq!(
            shelf
                .rack(soon())
                .await
                .expect("read")
                .inventory
                .nodes
                .len(),
            2
        );
        std::fs::write(&path, "rubbish").expect("written");
        assert_eq!(
            shelf
                .rack(soon())
                .await
                .expect("kept")
                .inventory
                .nodes
                .len(),
            2
        );
        let error = shelf.check(soon()).await.expect_err("it makes no sense");
        assert!(error.to_string().contains("inventory.toml"), "{error}");
    }

    #[test]
    fn a_client_without_authorities_is_not_used_for_tls() {
        let mut made = Made::default();
        for base in ["http://a", "https://b", "HTTPS://c", "http://d"] {
            let config = HttpConfig {
                trust: Trust::Anyone,
                ..HttpConfig::new(base)
            };
            made.client(&config).expect("made");
        }
        assert_eq!(made.clients.len(), 2);
    }

    #[test]
    fn credentials_are_understood_or_refused_without_showing_them() {
        for text in [
            "password = \"sesame\"",
            "sesame",
            "username = \"a:b\"\npassword = \"sesame\"",
        ] {
            let error = credentials(text).expect_err("refused");
            assert!(!error.contains("sesame"), "{error}");
        }
    }
}
