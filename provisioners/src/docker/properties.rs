//! What a group may say about machines that are containers.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Attachment, Fields, Problem, Properties};

/// Variables with this beginning configure the agent itself, so only its provisioner sets them.
const RESERVED: &str = "MUSTER_";
/// The most entries of one list or table; no machine needs more.
const ENTRIES_MAX: usize = 64;
/// Far below the kernel's limit of 128 KiB for one string.
const TEXT_MAX_BYTES: usize = 4096;
/// The least memory that an Engine accepts is 6 MiB, and an agent needs about twice that.
const MEMORY_MIN_MIB: u64 = 16;
/// 1 PiB: beyond any computer, and no danger to the arithmetic.
const MEMORY_MAX_MIB: u64 = 1 << 30;
/// The shortest name of a volume.
const VOLUME_MIN: usize = 2;
const CPUS_MAX: f64 = 4096.0;
/// The command that images made for muster run, and the file that this provisioner writes.
const COMMAND: [&str; 4] = ["muster", "agent", "--config", super::files::CONFIG_PATH];

/// The kind of an attachment that is a volume, and of one without a kind.
pub(super) const DISK: &str = "disk";
/// The kind of an attachment that is a fixed address.
pub(super) const ADDRESS: &str = "address";

/// The properties of a group's template, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct DockerProperties {
    /// What machines are made of.
    pub(super) image: String,
    /// Whether an image that the Engine doesn't have is fetched from its registry.
    pub(super) pull: bool,
    /// What runs as the first process; empty for what the image says.
    pub(super) command: Vec<String>,
    /// Added to the environment of the first process.
    pub(super) env: BTreeMap<String, String>,
    /// The networks, the mesh's first; empty for the Engine's default one.
    pub(super) networks: Vec<String>,
    /// Where attachments are mounted, by their kind.
    pub(super) disks: BTreeMap<String, String>,
    /// Directories and files of the Engine's computer, by where they are in the machine.
    pub(super) mounts: BTreeMap<String, Mount>,
    /// Linux capabilities beyond the Engine's usual ones.
    pub(super) capabilities: Vec<String>,
    /// The most memory, in MiB.
    pub(super) memory_mib: Option<u64>,
    /// The most processor time, in processors.
    pub(super) cpus: Option<f64>,
    /// What the Engine does by itself when the first process ends; `None` for what suits the Engine.
    pub(super) restart: Option<Restart>,
}

/// A directory or file of the Engine's computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) source: String,
    pub(super) read_only: bool,
}

/// What the Engine does by itself when a machine's first process ends, or when the Engine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restart {
    /// Nothing: muster decides.
    No,
    /// It starts the machine again, unless somebody stopped it.
    UnlessStopped,
}

impl Restart {
    /// The word for it, in specs and in the Engine's API.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// What the word means.
    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::No, Self::UnlessStopped]
            .into_iter()
            .find(|one| one.as_str() == text)
    }
}

impl DockerProperties {
    /// Reads and checks a group's properties. Pure.
    pub(super) fn read(properties: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(properties);
        let this = Self {
            image: read_image(&mut fields),
            pull: read_pull(&mut fields),
            command: read_command(&mut fields),
            env: read_env(&mut fields),
            networks: read_names(&mut fields, "networks", is_name, "the name of a network"),
            disks: read_disks(&mut fields),
            mounts: read_mounts(&mut fields),
            capabilities: read_names(
                &mut fields,
                "capabilities",
                is_capability,
                "the name of a capability, such as NET_ADMIN",
            ),
            memory_mib: read_memory(&mut fields),
            cpus: read_cpus(&mut fields),
            restart: read_restart(&mut fields),
        };
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(this)
        } else {
            Err(problems)
        }
    }

    /// Where an attachment that is a volume is mounted.
    pub(super) fn path_of(&self, attachment: &Attachment) -> Option<&str> {
        self.disks.get(kind_of(attachment)).map(String::as_str)
    }

    /// Everything that keeps machines of these properties from having these attachments.
    pub(super) fn check_attachments(&self, attachments: &[Attachment]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut kinds = Vec::new();
        for attachment in attachments {
            let (id, kind) = (&attachment.id, kind_of(attachment));
            let problem =
                |reason: String, remedy: String| Problem::new("attachments", reason, remedy);
            if kinds.contains(&kind) {
                let remedy = "give each disk of a member a kind of its own, and a path in `properties.disks`";
                problems.push(problem(
                    format!("two attachments are of kind `{kind}`"),
                    remedy.into(),
                ));
            }
            kinds.push(kind);
            if kind == ADDRESS {
                if id.parse::<std::net::IpAddr>().is_err() {
                    let remedy = "write an address of the group's first network, such as 10.88.0.5";
                    problems.push(problem(format!("`{id}` is no IP address"), remedy.into()));
                }
                if self.networks.is_empty() {
                    let remedy = "name a network that has a subnet in `properties.networks`";
                    let reason = "the Engine's default network has no fixed addresses";
                    problems.push(problem(reason.into(), remedy.into()));
                }
            } else {
                if !is_name(id) || id.len() < VOLUME_MIN {
                    let remedy = "use two or more letters, digits, `_`, `.` and `-`, beginning with a letter or digit";
                    problems.push(problem(
                        format!("`{id}` is no name of a volume"),
                        remedy.into(),
                    ));
                }
                if !self.disks.contains_key(kind) {
                    let reason = format!("nothing says where a disk of kind `{kind}` is mounted");
                    let remedy = format!("write properties.disks = {{ {kind} = \"/path\" }}");
                    problems.push(problem(reason, remedy));
                }
            }
        }
        problems
    }
}

/// The kind of an attachment; without one it is a disk.
pub(super) fn kind_of(attachment: &Attachment) -> &str {
    if attachment.kind.is_empty() {
        DISK
    } else {
        &attachment.kind
    }
}

fn read_image(fields: &mut Fields<'_>) -> String {
    let remedy = "write image = \"name:tag\"";
    let Some(image) = fields.string("image") else {
        if fields.written("image").is_none() {
            fields.problem("image", "there is nothing to make machines of", remedy);
        }
        return String::new();
    };
    let printable = image.bytes().all(|byte| byte.is_ascii_graphic());
    if !(1..=512).contains(&image.len()) || !printable || image.starts_with('-') {
        fields.problem("image", "no reference of an image", remedy);
    }
    image
}

fn read_pull(fields: &mut Fields<'_>) -> bool {
    match fields.string("pull").as_deref() {
        None | Some("missing") => true,
        Some("never") => false,
        Some(other) => {
            let reason = format!("`{}` is no way to get images", short(other));
            fields.problem("pull", reason, "write \"missing\" or \"never\"");
            true
        }
    }
}

fn read_command(fields: &mut Fields<'_>) -> Vec<String> {
    let Some(command) = fields.strings("command") else {
        return COMMAND.map(str::to_owned).to_vec();
    };
    check_count(fields, "command", command.len());
    for (index, word) in command.iter().enumerate() {
        if let Err(reason) = check_text(word) {
            let field = format!("command[{index}]");
            fields.problem(&field, reason, "shorten it, or put it into a file");
        }
    }
    command
}

fn read_env(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let env = fields.string_map("env").unwrap_or_default();
    check_count(fields, "env", env.len());
    for (name, value) in &env {
        let field = format!("env.{name}");
        if !is_variable(name) {
            let remedy = "use letters, digits and underscores, not beginning with a digit";
            fields.problem(&field, "no name of a variable", remedy);
        } else if name.starts_with(RESERVED) {
            let reason = format!("`{RESERVED}…` configures the agent itself");
            fields.problem(&field, reason, "choose another name");
        }
        if let Err(reason) = check_text(value) {
            fields.problem(&field, reason, "shorten it, or put it into a file");
        }
    }
    env
}

fn read_names(
    fields: &mut Fields<'_>,
    name: &str,
    is_valid: fn(&str) -> bool,
    what: &str,
) -> Vec<String> {
    let names = fields.strings(name).unwrap_or_default();
    check_count(fields, name, names.len());
    for (index, one) in names.iter().enumerate() {
        let field = format!("{name}[{index}]");
        if !is_valid(one) {
            let reason = format!("`{}` is not {what}", short(one));
            fields.problem(&field, reason, format!("write {what}"));
        } else if names[..index].contains(one) {
            fields.problem(
                &field,
                format!("`{one}` is there twice"),
                "remove one of them",
            );
        }
    }
    names
}

fn read_disks(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let Some(disks) = fields.string_map("disks") else {
        return BTreeMap::from([(DISK.to_owned(), "/data".to_owned())]);
    };
    check_count(fields, "disks", disks.len());
    for (kind, path) in &disks {
        let field = format!("disks.{kind}");
        if kind.is_empty() || kind == ADDRESS {
            let reason = format!("`{kind}` is no kind of disk");
            fields.problem(&field, reason, "choose another name");
        }
        check_target(fields, &field, path);
    }
    disks
}

fn read_mounts(fields: &mut Fields<'_>) -> BTreeMap<String, Mount> {
    let texts = fields.string_map("mounts").unwrap_or_default();
    check_count(fields, "mounts", texts.len());
    let mut mounts = BTreeMap::new();
    for (target, text) in texts {
        let field = format!("mounts.{target}");
        let (source, read_only) = match text.strip_suffix(":ro") {
            Some(source) => (source, true),
            None => (text.as_str(), false),
        };
        check_target(fields, &field, &target);
        if !is_path(source) {
            let reason = format!("`{}` is no whole path without `..`", short(source));
            fields.problem(
                &field,
                reason,
                "write \"/path\", or \"/path:ro\" to read only",
            );
        }
        let source = source.to_owned();
        mounts.insert(target, Mount { source, read_only });
    }
    mounts
}

fn read_memory(fields: &mut Fields<'_>) -> Option<u64> {
    let memory = fields.integer("memory_mib")?;
    if !(MEMORY_MIN_MIB..=MEMORY_MAX_MIB).contains(&memory) {
        let reason = format!("{memory} MiB is no memory for a machine");
        let remedy = format!("write {MEMORY_MIN_MIB} or more, or leave it out");
        fields.problem("memory_mib", reason, remedy);
        return None;
    }
    Some(memory)
}

fn read_cpus(fields: &mut Fields<'_>) -> Option<f64> {
    let cpus = fields.value("cpus")?;
    let number = cpus.as_f64().filter(|_| matches!(cpus, Value::Number(_)));
    let valid = number.filter(|number| (0.01..=CPUS_MAX).contains(number));
    if valid.is_none() {
        let reason = format!("`{}` is no number of processors", short(&cpus.to_string()));
        fields.problem("cpus", reason, "write a number such as 0.5 or 2");
    }
    valid
}

fn read_restart(fields: &mut Fields<'_>) -> Option<Restart> {
    let text = fields.string("restart")?;
    let restart = Restart::parse(&text);
    if restart.is_none() {
        let reason = format!(
            "`{}` is no way to restart machines that can be proven off",
            short(&text)
        );
        fields.problem("restart", reason, "write \"unless-stopped\" or \"no\"");
    }
    restart
}

fn check_count(fields: &mut Fields<'_>, name: &str, count: usize) {
    if count > ENTRIES_MAX {
        let reason = format!("{count} entries are too many");
        fields.problem(name, reason, format!("keep to {ENTRIES_MAX}"));
    }
}

/// Where something is mounted: below the machine's root, and over nothing that the agent needs.
fn check_target(fields: &mut Fields<'_>, field: &str, path: &str) {
    let config = super::files::CONFIG_PATH;
    let over_config = format!("{config}/").starts_with(&format!("{}/", path.trim_end_matches('/')));
    if !is_path(path) || path.trim_end_matches('/').is_empty() {
        let reason = format!("`{}` is no whole path below / without `..`", short(path));
        fields.problem(field, reason, "write \"/path\"");
    } else if over_config {
        let reason = format!("the agent's configuration is written to {config}");
        fields.problem(field, reason, "mount it elsewhere");
    }
}

fn check_text(text: &str) -> Result<(), String> {
    if text.contains('\0') {
        return Err("a zero byte can't be handed to a program".to_owned());
    }
    match text.len() {
        length if length > TEXT_MAX_BYTES => {
            Err(format!("{length} bytes are more than {TEXT_MAX_BYTES}"))
        }
        _ => Ok(()),
    }
}

fn is_path(path: &str) -> bool {
    let printable = path.chars().all(|c| !c.is_control());
    path.starts_with('/')
        && path.len() <= TEXT_MAX_BYTES
        && printable
        && !path.split('/').any(|part| part == "..")
}

fn is_variable(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&name.len())
        && name.chars().all(word)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// What Engines allow as names of networks and volumes.
fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    (1..=128).contains(&name.len())
        && name.chars().all(inner)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn is_capability(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_uppercase() || c == '_';
    (1..=32).contains(&name.len()) && name.chars().all(letter)
}

/// A user's words for an error message.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Result<DockerProperties, Vec<String>> {
        let properties: Properties = json.parse().expect("valid");
        let fields = |problems: Vec<Problem>| problems.into_iter().map(|one| one.field).collect();
        DockerProperties::read(&properties).map_err(fields)
    }

    fn problems(json: &str) -> Vec<String> {
        read(json).expect_err("something is wrong")
    }

    #[test]
    fn an_image_is_enough() {
        let least = read(r#"{"image": "muster"}"#).expect("valid");
        assert_eq!(
            least.command,
            ["muster", "agent", "--config", "/etc/muster/agent.toml"]
        );
        assert_eq!(least.disks["disk"], "/data");
        assert!(least.pull && least.restart.is_none() && least.networks.is_empty());
    }

    #[test]
    fn everything_is_read() {
        let all = read(
            r#"{"image": "registry.example.org:5000/muster@sha256:0a", "pull": "never", "command": [],
                "env": {"COLOUR": "red"}, "networks": ["fleet", "storage"], "disks": {"disk": "/srv"},
                "mounts": {"/run/engine": "/run/docker", "/etc/x": "/etc/y:ro"}, "capabilities": ["NET_ADMIN"],
                "memory_mib": 64, "cpus": 0.5, "restart": "no"}"#,
        )
        .expect("valid");
        assert!(!all.pull && all.command.is_empty());
        assert!(all.mounts["/etc/x"].read_only && !all.mounts["/run/engine"].read_only);
        assert_eq!(all.mounts["/etc/x"].source, "/etc/y");
        assert_eq!((all.memory_mib, all.cpus), (Some(64), Some(0.5)));
        assert_eq!(all.restart, Some(Restart::No));
    }

    #[test]
    fn every_bad_property_is_found() {
        assert_eq!(problems("{}"), ["image"]);
        assert_eq!(
            problems(
                r#"{"image": "a b", "pull": "always", "command": "x", "env": {"MUSTER_X": "1", "2": ""},
                    "networks": ["a", "a", "-"], "disks": {"address": "/d", "wal": "../x"},
                    "mounts": {"/etc": "/y", "/b": "y"}, "capabilities": ["all"], "memory_mib": 1, "cpus": "2",
                    "restart": "always", "colour": "red"}"#
            ),
            [
                "image",
                "pull",
                "command",
                "env.2",
                "env.MUSTER_X",
                "networks[1]",
                "networks[2]",
                "disks.address",
                "disks.wal",
                "mounts./b",
                "mounts./etc",
                "capabilities[0]",
                "memory_mib",
                "cpus",
                "restart",
                "colour"
            ]
        );
    }

    #[test]
    fn attachments_need_a_place() {
        let properties = read(r#"{"image": "x", "networks": ["n"]}"#).expect("valid");
        let check =
            |id: &str, kind: &str| properties.check_attachments(&[Attachment::new(id, kind)]);
        assert_eq!(check("db-1", ""), []);
        assert_eq!(check("10.88.0.5", "address"), []);
        for (id, kind) in [("10.88.0", "address"), ("a/b", "disk"), ("db-1", "wal")] {
            assert_eq!(check(id, kind).len(), 1, "{id} {kind}");
        }
        let twice = [Attachment::new("aa", ""), Attachment::new("bb", "disk")];
        assert_eq!(properties.check_attachments(&twice).len(), 1);
        let nowhere = read(r#"{"image": "x"}"#).expect("valid");
        let address = [Attachment::new("10.88.0.5", "address")];
        assert_eq!(nowhere.check_attachments(&address).len(), 1);
    }

    proptest! {
        #[test]
        fn no_properties_panic(text in any::<String>(), key in "image|pull|mounts|disks|cpus|networks|command|env") {
            for value in [
                serde_json::json!(text), serde_json::json!([text]), serde_json::json!({ text.clone(): text.clone() }),
            ] {
                let properties = Properties::from_value(serde_json::json!({ key.clone(): value })).expect("an object");
                let _ = DockerProperties::read(&properties);
            }
        }
    }
}
