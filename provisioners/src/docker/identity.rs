//! Names: of Engines, of containers, and of instances, which carry both.

use bollard::models::SystemInfo;
use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

use crate::{InstanceId, OperationId, ProvisionError};

/// Base32 digits of an Engine's name: enough to tell apart the Engines that anybody would mix up.
const ENGINE_DIGITS: usize = 6;
/// Hexadecimal digits of a container's ID, as Docker's own command line shows it.
const CONTAINER_DIGITS: usize = 12;

/// An Engine with its storage, in six letters and digits.
///
/// A container that one Engine doesn't have may still run on another, or on the same one with another storage directory.
/// So an instance's ID says where it was made, and nothing is concluded from what another Engine doesn't know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EngineName(String);

impl EngineName {
    /// The name of the Engine that says this of itself. Podman has no ID that it keeps, so there the host's name counts.
    pub(super) fn of(info: &SystemInfo, podman: bool) -> Result<Self, ProvisionError> {
        let own = if podman { &info.name } else { &info.id };
        let parts = [own, &info.docker_root_dir].map(|part| part.as_deref().unwrap_or_default());
        if parts.iter().any(|part| part.is_empty()) {
            let why = "the Engine doesn't say who it is (its ID and storage directory); is it a Docker Engine or Podman?";
            return Err(ProvisionError::unavailable(why));
        }
        let mut hash = Sha256::new();
        hash.update(b"muster engine 1\0");
        for part in parts {
            hash.update(part.as_bytes());
            hash.update(b"\0");
        }
        let mut digits = BASE32_NOPAD.encode(&hash.finalize()).to_ascii_lowercase();
        digits.truncate(ENGINE_DIGITS);
        Ok(Self(digits))
    }

    /// The name as a user wrote it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let valid = text.len() == ENGINE_DIGITS && text.bytes().all(is_base32);
        valid.then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An instance's ID taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) engine: EngineName,
    /// The beginning of the container's ID.
    pub(super) container: String,
}

impl Place {
    /// `None` if this provisioner never gave such an ID.
    pub(super) fn of(id: &InstanceId) -> Option<Self> {
        let (engine, container) = id.as_str().split_once('-')?;
        let valid = container.len() == CONTAINER_DIGITS && container.bytes().all(is_hexadecimal);
        Some(Self {
            engine: EngineName::parse(engine)?,
            container: valid.then(|| container.to_owned())?,
        })
    }
}

/// The ID of the instance that is a container of an Engine.
pub(super) fn instance_id(engine: &str, container: &str) -> Result<InstanceId, ProvisionError> {
    let short = container.get(..CONTAINER_DIGITS).unwrap_or_default();
    let id = format!("{engine}-{short}").parse().ok();
    id.filter(|id| Place::of(id).is_some()).ok_or_else(|| {
        let shown: String = container.chars().take(80).collect();
        ProvisionError::unavailable(format!(
            "the Engine gave `{shown}` as the ID of a container"
        ))
    })
}

/// What the container of an operation is called: the Engine takes each name only once.
pub(super) fn container_name(op: &OperationId) -> String {
    format!("muster-{}", op.short(usize::MAX))
}

fn is_base32(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'2'..=b'7')
}

fn is_hexadecimal(byte: u8) -> bool {
    matches!(byte, b'a'..=b'f' | b'0'..=b'9')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info(id: &str, name: &str, root: &str) -> SystemInfo {
        SystemInfo {
            id: Some(id.into()),
            name: Some(name.into()),
            docker_root_dir: Some(root.into()),
            ..SystemInfo::default()
        }
    }

    #[test]
    fn an_engine_is_its_id_and_its_storage() {
        let name = |info: SystemInfo, podman| EngineName::of(&info, podman).expect("named");
        let one = name(info("A:B", "h", "/var/lib/docker"), false);
        assert_eq!(EngineName::parse(one.as_str()), Some(one.clone()));
        assert_eq!(one, name(info("A:B", "renamed", "/var/lib/docker"), false));
        assert_ne!(one, name(info("A:C", "h", "/var/lib/docker"), false));
        assert_ne!(one, name(info("A:B", "h", "/mnt/docker"), false));
        let podman = name(info("changes", "h", "/s"), true);
        assert_eq!(podman, name(info("always", "h", "/s"), true));
        assert!(EngineName::of(&info("", "h", "/s"), false).is_err());
    }

    #[test]
    fn ids_are_taken_apart_as_they_were_made() {
        let id = instance_id("abc234", "0123456789abcdef0123").expect("an ID");
        assert_eq!(id.as_str(), "abc234-0123456789ab");
        let place = Place::of(&id).expect("ours");
        assert_eq!(
            (place.engine.as_str(), &*place.container),
            ("abc234", "0123456789ab")
        );
        for rubbish in ["", "0123", "ÄÄÄÄÄÄÄ", "../../../../.."] {
            assert!(instance_id("abc234", rubbish).is_err(), "{rubbish}");
        }
    }

    #[test]
    fn one_operation_has_one_name() {
        let op = OperationId::derive("c", "web", "web-1", 1, "provision");
        assert_eq!(container_name(&op).len(), "muster-".len() + 26);
    }

    proptest! {
        #[test]
        fn no_id_panics(text in "[ -~]{1,40}") {
            let _ = text.parse::<InstanceId>().ok().as_ref().map(Place::of);
        }
    }
}
