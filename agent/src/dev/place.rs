//! Which machines a fleet's directory has, and which of them answers.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use crate::api::client::Client;
use crate::api::types::{ApiError, ErrorKind, Request, Response};
use crate::dashboard::Nodes;

/// A machine that doesn't answer the cheapest question in this time is passed over: it may be stopped, or hang.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// An agent's configuration is a few hundred bytes, plus a script for its first boot.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// A machine's directory, by what its agent was told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Home {
    name: String,
    socket: PathBuf,
}

/// Whether `muster dev` has been at work in this directory.
pub(crate) fn is_fleet(dir: &Path) -> bool {
    dir.join("root.json").is_file()
}

/// The name of the machine whose directory this is; `None` where there is none (any more).
pub(super) fn name_of(home: &Path) -> Option<String> {
    Some(Home::read(home)?.name)
}

/// The socket of the machine of this name. While a machine is being replaced there may be two; the newer one is meant.
pub(crate) fn socket_of(dir: &Path, name: &str) -> Option<PathBuf> {
    let made = |home: &Home| {
        let metadata = std::fs::metadata(&home.socket).and_then(|metadata| metadata.modified());
        metadata.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let homes = homes(dir).into_iter().filter(|home| home.name == name);
    Some(homes.max_by_key(made)?.socket)
}

/// The socket of a machine that answers. The first one by name whose copy is fresh, so that answers come from the same
/// one; where all copies are old the youngest.
pub(crate) async fn live_socket(dir: &Path) -> Option<PathBuf> {
    let mut second_best = None;
    for Home { socket, .. } in homes(dir) {
        let client = Client::socket(&socket).with_timeout(ANSWER_MAX);
        let age_ms = match client.call(&Request::Groups).await {
            Ok(Response::Groups(groups)) if !groups.as_of.stale => return Some(socket),
            Ok(Response::Groups(groups)) => groups.as_of.age_ms,
            Err(error) if matches!(error.kind, ErrorKind::Unreachable | ErrorKind::Timeout) => {
                continue;
            }
            // It is there and has nothing to tell yet: better than nobody.
            Ok(_) | Err(_) => u64::MAX,
        };
        if second_best.as_ref().is_none_or(|(best, _)| age_ms < *best) {
            second_best = Some((age_ms, socket));
        }
    }
    second_best.map(|(_, socket)| socket)
}

/// All machines with a directory, by name.
fn homes(dir: &Path) -> Vec<Home> {
    let entries = std::fs::read_dir(dir.join("instances"))
        .into_iter()
        .flatten()
        .flatten();
    let mut homes: Vec<_> = entries
        .filter_map(|entry| Home::read(&entry.path()))
        .collect();
    homes.sort_by(|one, other| one.name.cmp(&other.name));
    homes
}

impl Home {
    fn read(home: &Path) -> Option<Self> {
        use std::io::Read as _;
        let mut text = String::new();
        let file = std::fs::File::open(home.join("agent.toml")).ok()?;
        file.take(CONFIG_BYTES_MAX).read_to_string(&mut text).ok()?;
        let config: toml::Table = text.parse().ok()?;
        let key = |name: &str| Some(config.get(name)?.as_str()?.to_owned());
        Some(Self {
            name: key("name")?,
            socket: key("api_socket")?.into(),
        })
    }
}

/// Whichever machine of a fleet answers.
pub(super) struct Machines {
    dir: PathBuf,
}

impl Machines {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }
}

#[async_trait]
impl Nodes for Machines {
    async fn connect(&self) -> Result<Client, ApiError> {
        let socket = live_socket(&self.dir).await.ok_or_else(|| {
            ApiError::new(ErrorKind::Unreachable, "no machine of the fleet answers")
                .remedy("start one with `muster dev start NAME`")
        })?;
        Ok(Client::socket(socket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(dir: &Path, id: &str, name: &str) -> PathBuf {
        let home = dir.join("instances").join(id);
        std::fs::create_dir_all(&home).expect("writable");
        let socket = home.join("api.sock");
        let config = format!(
            "name = \"{name}\"\napi_socket = {:?}\n",
            socket.display().to_string()
        );
        std::fs::write(home.join("agent.toml"), config).expect("writable");
        socket
    }

    #[test]
    fn machines_are_found_by_name_and_damaged_ones_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(socket_of(dir.path(), "web-1"), None);
        home(dir.path(), "p-2", "web-2");
        let socket = home(dir.path(), "p-1", "web-1");
        std::fs::create_dir_all(dir.path().join("instances/p-3")).expect("writable");
        std::fs::write(dir.path().join("instances/p-3/agent.toml"), "name =").expect("writable");
        assert_eq!(socket_of(dir.path(), "web-1"), Some(socket));
        let names: Vec<_> = homes(dir.path())
            .into_iter()
            .map(|home| home.name)
            .collect();
        assert_eq!(names, ["web-1", "web-2"]);
    }

    #[tokio::test]
    async fn nobody_answers_where_nobody_listens() {
        let dir = tempfile::tempdir().expect("a directory");
        home(dir.path(), "p-1", "web-1");
        assert_eq!(live_socket(dir.path()).await, None);
        let error = Machines::new(dir.path())
            .connect()
            .await
            .err()
            .expect("nobody");
        assert_eq!(error.kind, ErrorKind::Unreachable);
    }
}
