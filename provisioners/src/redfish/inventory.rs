//! The inventory: which nodes there are, and how their controllers are asked. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::ipmi::Way;
use crate::http::{HttpConfig, Trust};
use crate::{Fields, Labels, Problem, Properties};

/// Nodes of one inventory: as many as the ledger has entries for.
const NODES_MAX: usize = crate::Table::ENTRIES_MAX;

/// Labels of one node; an agent takes 32.
const LABELS_MAX: usize = 16;

/// The longest name of a node: it is the first part of an instance's ID.
const NAME_BYTES_MAX: usize = 63;

/// The UDP port of IPMI.
const IPMI_PORT: u16 = 623;

/// What only nodes have whose controllers speak Redfish.
const ONLY_REDFISH: [&str; 2] = ["system", "trust"];

/// What only nodes have whose controllers speak IPMI.
const ONLY_IPMI: [&str; 2] = ["cipher_suite", "firmware"];

/// The nodes, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Inventory {
    pub(super) nodes: BTreeMap<String, Node>,
}

/// A node, as the inventory says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) controller: Address,
    /// The file with the name and the password by which the controller is asked.
    pub(super) credentials: Option<PathBuf>,
    pub(super) labels: Labels,
    /// Its address as a host, once it runs.
    pub(super) address: Option<IpAddr>,
    /// The address of the network card that it boots from, in lower case with colons.
    pub(super) mac: Option<String>,
    pub(super) boot: BootMethod,
    pub(super) wipe: WipePolicy,
}

/// Where a controller is, and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// Redfish over HTTP.
    Redfish {
        http: HttpConfig,
        /// The path of the system, where there is more than one.
        system: Option<String>,
    },
    /// IPMI 2.0 (RMCP+).
    Ipmi(Way),
}

/// How a node gets the system of a new machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum BootMethod {
    /// From the network, as its boot server says.
    #[default]
    Pxe,
    /// From an address that its controller is told (UEFI HTTP boot).
    Http,
    /// From an image that its controller is told to insert as a virtual medium.
    Media,
    /// From its own disk: a system is there already.
    Disk,
}

/// What happens to a node's disks when its machine is destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum WipePolicy {
    /// They stay as they are.
    #[default]
    Keep,
    /// An image is started that wipes them and switches the node off.
    Image,
}

impl BootMethod {
    const ALL: [(&'static str, Self); 4] = [
        ("pxe", Self::Pxe),
        ("http", Self::Http),
        ("media", Self::Media),
        ("disk", Self::Disk),
    ];

    /// The method of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(word, _)| *word == name);
        found.map(|(_, method)| *method)
    }

    /// Whether its controller is told an address.
    pub(super) fn takes_address(self) -> bool {
        matches!(self, Self::Http | Self::Media)
    }
}

impl Inventory {
    /// Reads an inventory (TOML).
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its field.
    pub(super) fn read(text: &str) -> Result<Self, Vec<Problem>> {
        let one = |reason: String, remedy: &str| vec![Problem::new("", reason, remedy)];
        let table: toml::Table = toml::from_str(text).map_err(|error| {
            one(
                error.message().to_owned() + &line(text, &error),
                "write TOML",
            )
        })?;
        let mut inventory = Self::default();
        let mut problems = Vec::new();
        for (key, value) in &table {
            if key != "nodes" && key != "defaults" {
                problems.push(Problem::new(
                    key,
                    "unknown table",
                    "write `[nodes.NAME]` or `[defaults]`",
                ));
            } else if !value.is_table() {
                problems.push(Problem::new(
                    key,
                    "expected a table",
                    "write `[nodes.NAME]` or `[defaults]`",
                ));
            }
        }
        let defaults = table.get("defaults").and_then(toml::Value::as_table);
        let nodes = table.get("nodes").and_then(toml::Value::as_table);
        for (name, node) in nodes.into_iter().flatten() {
            match read_node(name, node, defaults) {
                Ok(node) => drop(inventory.nodes.insert(name.clone(), node)),
                Err(found) => {
                    let under = format!("nodes.{name}");
                    problems.extend(found.into_iter().map(|problem| problem.under(&under)));
                }
            }
        }
        if inventory.nodes.len() > NODES_MAX {
            let reason = format!("{} nodes are too many", inventory.nodes.len());
            problems.push(Problem::new(
                "nodes",
                reason,
                format!("keep to {NODES_MAX}"),
            ));
        }
        problems.extend(inventory.twice());
        if problems.is_empty() {
            Ok(inventory)
        } else {
            Err(problems)
        }
    }

    /// One controller under two names would be two machines on one node.
    fn twice(&self) -> Vec<Problem> {
        let mut seen = BTreeMap::new();
        let mut problems = Vec::new();
        for node in self.nodes.values() {
            if let Some(other) = seen.insert(node.controller.key(), &node.name) {
                let field = format!("nodes.{}.controller", node.name);
                let reason = format!("`{other}` has the same controller and system");
                problems.push(Problem::new(field, reason, "name each node once"));
            }
        }
        problems
    }
}

impl Address {
    /// The same for two that are one controller and system.
    fn key(&self) -> String {
        match self {
            Self::Redfish { http, system } => {
                let base = http.base.trim_end_matches('/').to_lowercase();
                format!(
                    "{base} {}",
                    system.as_deref().unwrap_or_default().trim_end_matches('/')
                )
            }
            Self::Ipmi(way) => format!("{} {}", way.host.to_lowercase(), way.port),
        }
    }
}

fn line(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().and_then(|span| text.get(..span.start));
    at.map_or_else(String::new, |before| {
        format!(" (line {})", before.matches('\n').count() + 1)
    })
}

/// Reads a node; what it doesn't say, the defaults do.
fn read_node(
    name: &str,
    node: &toml::Value,
    defaults: Option<&toml::Table>,
) -> Result<Node, Vec<Problem>> {
    let one = |reason: &str, remedy: &str| vec![Problem::new("", reason, remedy)];
    let Some(own) = node.as_table() else {
        return Err(one("expected a table", "write `[nodes.NAME]`"));
    };
    let mut whole = defaults.cloned().unwrap_or_default();
    // What only the other protocol knows was not meant for this node.
    let speaks_ipmi = own
        .get("protocol")
        .or(whole.get("protocol"))
        .and_then(toml::Value::as_str)
        == Some("ipmi");
    let others = if speaks_ipmi { ONLY_REDFISH } else { ONLY_IPMI };
    whole.retain(|key, _| !others.contains(&key));
    whole.extend(own.clone());
    let value =
        serde_json::to_value(whole).map_err(|error| one(&error.to_string(), "write TOML"))?;
    let properties =
        Properties::from_value(value).map_err(|error| one(&error.to_string(), "write less"))?;
    let mut fields = Fields::new(&properties);
    if !is_name(name) {
        let remedy = format!("use letters, digits, `-` and `_`, at most {NAME_BYTES_MAX}");
        fields.problem("", "no name of a node", remedy);
    }
    let node = Node {
        name: name.to_owned(),
        controller: read_controller(&mut fields),
        credentials: fields.string("credentials").map(PathBuf::from),
        labels: fields.string_map("labels").unwrap_or_default(),
        address: read_address(&mut fields),
        mac: read_mac(&mut fields),
        boot: choice(&mut fields, "boot", &BootMethod::ALL),
        wipe: choice(
            &mut fields,
            "wipe",
            &[("keep", WipePolicy::Keep), ("image", WipePolicy::Image)],
        ),
    };
    if node.labels.len() > LABELS_MAX {
        let reason = format!("{} labels are too many", node.labels.len());
        fields.problem("labels", reason, format!("keep to {LABELS_MAX}"));
    }
    if node
        .credentials
        .as_ref()
        .is_some_and(|path| path.is_relative())
    {
        fields.problem("credentials", "the path is not absolute", "write `/…`");
    }
    if matches!(node.controller, Address::Ipmi(_)) && node.boot.takes_address() {
        let reason = "IPMI can't tell a node an address to boot from";
        fields.problem("boot", reason, "write `pxe` or `disk`");
    }
    match fields.finish() {
        problems if problems.is_empty() => Ok(node),
        problems => Err(problems),
    }
}

fn is_name(name: &str) -> bool {
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    fits && name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn read_controller(fields: &mut Fields<'_>) -> Address {
    let speaks_ipmi = choice(fields, "protocol", &[("redfish", false), ("ipmi", true)]);
    if speaks_ipmi {
        read_ipmi(fields)
    } else {
        read_redfish(fields)
    }
}

fn read_redfish(fields: &mut Fields<'_>) -> Address {
    let http = HttpConfig {
        trust: read_trust(fields),
        ..HttpConfig::new(fields.string("controller").unwrap_or_default())
    };
    if let Some(problem) = http.validate("controller") {
        fields.problem("controller", problem.reason, problem.remedy);
    }
    let system = fields.string("system");
    if system.as_ref().is_some_and(|path| !path.starts_with('/')) {
        fields.problem("system", "no path", "write `/redfish/v1/Systems/…`");
    }
    Address::Redfish { http, system }
}

fn read_ipmi(fields: &mut Fields<'_>) -> Address {
    let controller = fields.string("controller").unwrap_or_default();
    let (host, port) = match controller.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().unwrap_or(0)),
        _ => (controller.as_str(), IPMI_PORT),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte);
    // It becomes an argument of a program.
    if port == 0 || host.is_empty() || host.starts_with('-') || !host.bytes().all(is_plain) {
        let reason = format!("`{controller}` is no address");
        fields.problem("controller", reason, "write `host` or `host:port`");
    }
    let cipher = fields
        .integer("cipher_suite")
        .map(|number| u8::try_from(number).unwrap_or(u8::MAX));
    if cipher.is_some_and(|number| !matches!(number, 3 | 8 | 12 | 15..=19)) {
        let reason = "no cipher suite that encrypts";
        fields.problem(
            "cipher_suite",
            reason,
            "write `17`, or `3` for old controllers",
        );
    }
    Address::Ipmi(Way {
        host: host.to_owned(),
        port,
        cipher,
        is_uefi: choice(fields, "firmware", &[("uefi", true), ("bios", false)]),
    })
}

/// Whom to believe that it is the controller: few have a certificate of an authority.
fn read_trust(fields: &mut Fields<'_>) -> Trust {
    let text = fields.string("trust");
    match text.as_deref().map(trust) {
        None => Trust::System,
        Some(Some(trust)) => trust,
        Some(None) => {
            let remedy = "write `system`, `anyone`, `sha256:FINGERPRINT`, or the path of a file of certificates";
            fields.problem("trust", "not understood", remedy);
            Trust::System
        }
    }
}

fn trust(text: &str) -> Option<Trust> {
    match (text, text.strip_prefix("sha256:")) {
        ("system", _) => Some(Trust::System),
        ("anyone", _) => Some(Trust::Anyone),
        (_, Some(fingerprint)) => Trust::fingerprint(fingerprint),
        (path, None) => path.starts_with('/').then(|| Trust::Authority(path.into())),
    }
}

fn read_address(fields: &mut Fields<'_>) -> Option<IpAddr> {
    let text = fields.string("address")?;
    let address = text.parse().ok();
    if address.is_none() {
        fields.problem("address", format!("`{text}` is no IP address"), "write one");
    }
    address
}

fn read_mac(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.string("mac")?.to_lowercase().replace('-', ":");
    let parts: Vec<_> = text.split(':').collect();
    let is_byte =
        |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.len() == 6 && parts.iter().all(is_byte) {
        return Some(text);
    }
    fields.problem(
        "mac",
        "no address of a network card",
        "write `52:54:00:12:34:56`",
    );
    None
}

/// One of a few words; the first is the default.
pub(super) fn choice<T: Copy>(fields: &mut Fields<'_>, name: &str, words: &[(&str, T)]) -> T {
    let default = words[0].1;
    let Some(text) = fields.string(name) else {
        return default;
    };
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let all: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        fields.problem(
            name,
            format!("`{text}` is none of its words"),
            format!("write {}", all.join(" or ")),
        );
    }
    found.map_or(default, |(_, value)| *value)
}

#[cfg(test)]
mod tests;
