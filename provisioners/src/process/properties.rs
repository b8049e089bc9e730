//! What a group may say about machines that are processes.

use std::collections::BTreeMap;

use super::census::MARK;
use crate::{Fields, Problem, Properties};

/// Variables with this beginning configure the agent itself, so only its provisioner sets them.
const RESERVED: &str = "MUSTER_";
const VARIABLES_MAX: usize = 64;
const ARGUMENTS_MAX: usize = 32;
/// Far below the kernel's limit of 128 KiB for one string.
const TEXT_MAX_BYTES: usize = 4096;

/// The properties of a group's template, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ProcessProperties {
    /// Added to the agent's environment.
    pub(super) env: BTreeMap<String, String>,
    /// Added to the agent's arguments.
    pub(super) args: Vec<String>,
    /// The label `zone` of the machine, unless the group's placement gives it one.
    pub(super) zone: Option<String>,
    /// Whether the provisioner plays one that has lost sight of the machine's host: it says that the machine runs, and can
    /// neither prove it off nor end it. To try out what healing does then.
    pub(super) out_of_reach: bool,
}

impl ProcessProperties {
    /// Reads and checks a group's properties. Pure.
    pub(super) fn read(properties: &Properties) -> Result<Self, Vec<Problem>> {
        let mut fields = Fields::new(properties);
        let this = Self {
            env: read_env(&mut fields),
            args: read_args(&mut fields),
            zone: read_zone(&mut fields),
            out_of_reach: fields.boolean("out_of_reach").unwrap_or(false),
        };
        let problems = fields.finish();
        if problems.is_empty() {
            Ok(this)
        } else {
            Err(problems)
        }
    }
}

fn read_env(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let env = fields.string_map("env").unwrap_or_default();
    for (name, value) in &env {
        let field = format!("env.{name}");
        if !is_name(name) {
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
    if env.len() > VARIABLES_MAX {
        let reason = format!("{} variables are too many", env.len());
        fields.problem("env", reason, format!("keep to {VARIABLES_MAX}"));
    }
    env
}

fn read_args(fields: &mut Fields<'_>) -> Vec<String> {
    let args = fields.strings("args").unwrap_or_default();
    for (index, arg) in args.iter().enumerate() {
        if let Err(reason) = check_text(arg) {
            fields.problem(
                &format!("args[{index}]"),
                reason,
                "shorten it, or put it into a file",
            );
        }
    }
    if args.len() > ARGUMENTS_MAX {
        let reason = format!("{} arguments are too many", args.len());
        fields.problem("args", reason, format!("keep to {ARGUMENTS_MAX}"));
    }
    args
}

fn read_zone(fields: &mut Fields<'_>) -> Option<String> {
    let zone = fields.string("zone")?;
    let printable = zone.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if !(1..=63).contains(&zone.len()) || !printable {
        let remedy = "write 1 to 63 characters without spaces, such as \"a\"";
        fields.problem("zone", "no name of a zone", remedy);
    }
    Some(zone)
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.len() <= TEXT_MAX_BYTES
}

fn check_text(text: &str) -> Result<(), String> {
    if text.contains('\0') {
        Err("it contains a NUL character".to_owned())
    } else if text.len() > TEXT_MAX_BYTES {
        Err(format!(
            "{} bytes are more than the {TEXT_MAX_BYTES} allowed",
            text.len()
        ))
    } else {
        Ok(())
    }
}

/// An attachment's ID becomes the name of its directory.
pub(super) fn check_disk(id: &str) -> Option<Problem> {
    let valid = (1..=64).contains(&id.len())
        && !id.starts_with('.')
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    (!valid).then(|| {
        let id: String = id.chars().take(64).collect();
        let remedy = "write 1 to 64 letters, digits, dots, hyphens and underscores, not beginning with a dot";
        Problem::new("attachments", format!("`{id}` can't be the name of a directory"), remedy)
    })
}

// The mark must be reserved, or a group could make its processes look like another instance's.
const _: () = assert!(MARK.as_bytes()[0] == RESERVED.as_bytes()[0]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn problems(json: serde_json::Value) -> Vec<String> {
        let properties = Properties::from_value(json).expect("an object");
        let problems = ProcessProperties::read(&properties)
            .err()
            .unwrap_or_default();
        assert!(problems.iter().all(|problem| !problem.remedy.is_empty()));
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn what_is_right_is_read() {
        let properties = Properties::from_value(json!({
            "env": { "PORT": 80, "NAME": "x" }, "args": ["--log", "debug"], "zone": "a"
        }))
        .expect("an object");
        let read = ProcessProperties::read(&properties).expect("valid");
        assert_eq!(
            read.env,
            BTreeMap::from([("NAME".into(), "x".into()), ("PORT".into(), "80".into())])
        );
        assert_eq!(read.args, ["--log", "debug"]);
        assert_eq!(read.zone.as_deref(), Some("a"));
        assert!(MARK.starts_with(RESERVED));
    }

    #[test]
    fn everything_that_is_wrong_is_found() {
        let many: BTreeMap<_, _> = (0..=VARIABLES_MAX).map(|i| (format!("V{i}"), "")).collect();
        assert_eq!(problems(json!({ "env": many })), ["env"]);
        assert_eq!(
            problems(json!({
                "env": { "1A": "", "MUSTER_NAME": "x", "B": "\u{0}", "C": [] },
                "args": ["x".repeat(5000), 5],
                "zone": "a b",
                "image": "debian"
            })),
            [
                "env.C",
                "env.1A",
                "env.B",
                "env.MUSTER_NAME",
                "args[1]",
                "args[0]",
                "zone",
                "image"
            ]
        );
    }

    #[test]
    fn disks_are_names_of_directories() {
        assert_eq!(check_disk("db-1.data_x"), None);
        for rubbish in ["", ".", "..", ".locks", "a/b", "ü", &"x".repeat(65)] {
            assert!(check_disk(rubbish).is_some(), "{rubbish}");
        }
    }

    proptest! {
        #[test]
        fn accepted_names_and_texts_can_be_given_to_a_process(
            name in "[A-Za-z_0-9=\u{0}-]{0,6}",
            value in any::<String>(),
        ) {
            let properties = Properties::from_value(json!({ "env": { name.clone(): value } }));
            if let Ok(read) = ProcessProperties::read(&properties.expect("an object")) {
                for (name, value) in read.env {
                    prop_assert!(!name.is_empty() && !name.contains(['=', '\0']));
                    prop_assert!(!value.contains('\0'));
                }
            }
        }
    }
}
