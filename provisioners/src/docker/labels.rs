//! What a container's labels say: that it is ours, its tags, what is attached to it.

use std::collections::HashMap;
use std::net::IpAddr;

use super::identity::EngineName;
use super::properties::Restart;
use crate::{Attachment, MachineSpec, OperationId, Tags};

/// Marks what this provisioner made, with the version of these labels.
pub(super) const MARK: &str = "muster.docker";
const VERSION: &str = "1";
/// On which Engine it was made.
const ENGINE: &str = "muster.docker.engine";
/// All tags, as they were given: an image may bring labels of its own.
const TAGS: &str = "muster.docker.tags";
/// What is attached.
const ATTACHMENTS: &str = "muster.docker.attachments";
/// The address that was chosen for it; absent if none was.
const CHOSEN: &str = "muster.docker.address";
/// What the Engine does by itself when the machine is meant to run.
const RESTART: &str = "muster.docker.restart";

/// What our labels say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) engine: EngineName,
    pub(super) tags: Tags,
    pub(super) attachments: Vec<Attachment>,
    pub(super) address: Option<IpAddr>,
    pub(super) restart: Restart,
}

/// The labels of a new container. Each tag is a label too, so that people and the Engine can look for it.
pub(super) fn write(
    spec: &MachineSpec,
    op: &OperationId,
    engine: &EngineName,
    address: Option<IpAddr>,
    restart: Restart,
) -> HashMap<String, String> {
    let tags = spec.tags_for(op);
    let own = [
        (MARK, VERSION.to_owned()),
        (ENGINE, engine.as_str().to_owned()),
        (TAGS, json(&tags)),
        (ATTACHMENTS, json(&spec.attachments)),
        (RESTART, restart.as_str().to_owned()),
    ];
    tags.iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .chain(own.map(|(name, value)| (name.to_owned(), value)))
        .chain(address.map(|address| (CHOSEN.to_owned(), address.to_string())))
        .collect()
}

/// What a container's labels say.
///
/// # Errors
/// Why they can't be read, which is no reason to forget that the container is ours.
pub(super) fn read(labels: &HashMap<String, String>) -> Result<Labels, String> {
    let get = |name: &str| {
        let value = labels.get(name).map(String::as_str);
        value.ok_or_else(|| format!("its label `{name}` is missing"))
    };
    let wrong = |name: &str| format!("its label `{name}` is not as muster wrote it");
    if get(MARK)? != VERSION {
        return Err(wrong(MARK));
    }
    Ok(Labels {
        engine: EngineName::parse(get(ENGINE)?).ok_or_else(|| wrong(ENGINE))?,
        tags: serde_json::from_str(get(TAGS)?).map_err(unreadable(TAGS))?,
        attachments: serde_json::from_str(get(ATTACHMENTS)?).map_err(unreadable(ATTACHMENTS))?,
        address: labels.get(CHOSEN).and_then(|text| text.parse().ok()),
        restart: Restart::parse(get(RESTART)?).ok_or_else(|| wrong(RESTART))?,
    })
}

/// Whether a container is ours, whatever else its labels say.
pub(super) fn is_ours(labels: &HashMap<String, String>) -> bool {
    labels.contains_key(MARK)
}

fn unreadable(name: &'static str) -> impl FnOnce(serde_json::Error) -> String {
    move |error| format!("its label `{name}`: {error}")
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("texts are written as JSON without fail")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Properties, tag};

    fn engine() -> EngineName {
        EngineName::parse("abc234").expect("valid")
    }

    fn op() -> OperationId {
        OperationId::derive("c", "db", "db-1", 1, "provision")
    }

    #[test]
    fn what_is_written_is_read_whatever_the_image_says() {
        let mut spec = MachineSpec::new("db-1", Properties::new());
        spec.tags = Tags::new()
            .with(tag::CLUSTER, "c")
            .with("owner", "größe = \"x\"");
        spec.attachments = vec![
            Attachment::new("db-1", ""),
            Attachment::new("10.0.0.5", "address"),
        ];
        let mut labels = write(&spec, &op(), &engine(), None, Restart::UnlessStopped);
        assert_eq!(labels[tag::CLUSTER], "c");
        labels.insert("maintainer".into(), "somebody".into());
        let read = read(&labels).expect("readable");
        assert_eq!(read.tags, spec.tags_for(&op()));
        assert_eq!(read.attachments, spec.attachments);
        assert_eq!(
            (read.engine, read.restart),
            (engine(), Restart::UnlessStopped)
        );
    }

    #[test]
    fn what_cannot_be_read_is_still_ours() {
        let spec = MachineSpec::new("db-1", Properties::new());
        let whole = write(&spec, &op(), &engine(), None, Restart::No);
        for name in [ENGINE, TAGS, ATTACHMENTS, RESTART] {
            for rubbish in [None, Some("{"), Some("{\"a\":1}")] {
                let mut labels = whole.clone();
                labels.remove(name);
                labels.extend(rubbish.map(|text| (name.to_owned(), text.to_owned())));
                let why = read(&labels).expect_err("unreadable");
                assert!(is_ours(&labels) && why.contains(name), "{why}");
            }
        }
        assert!(!is_ours(&HashMap::new()));
    }

    proptest! {
        #[test]
        fn no_label_panics(text in any::<String>()) {
            let spec = MachineSpec::new("x", Properties::new());
            let mut labels = write(&spec, &op(), &engine(), None, Restart::No);
            for name in [MARK, ENGINE, TAGS, ATTACHMENTS, RESTART] {
                let before = labels.insert(name.to_owned(), text.clone());
                let _ = read(&labels);
                labels.extend(before.map(|before| (name.to_owned(), before)));
            }
        }
    }
}
