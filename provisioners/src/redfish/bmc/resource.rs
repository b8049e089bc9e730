//! What a Redfish controller says of its resources (DSP0266, DSP2046). Pure.
//!
//! Every field may be missing or be something else: then it is as if nothing had been said.

use serde_json::Value;

use super::super::controller::{Button, Look, Power, Restore};
use crate::ProvisionError;
use crate::http::Response;

/// Members of a list that are looked at.
const MEMBERS_MAX: usize = 64;

/// A system: the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct System {
    pub(super) path: String,
    pub(super) etag: Option<String>,
    pub(super) look: Look,
    /// Where its buttons are pressed.
    pub(super) reset: String,
    /// The buttons that it has; empty where it doesn't say.
    allowed: Vec<String>,
    /// The list of its virtual media, where it has one of its own.
    pub(super) media: Option<String>,
    /// The manager whose virtual media it has otherwise.
    pub(super) manager: Option<String>,
    boot: Value,
}

impl System {
    pub(super) fn read(path: &str, value: &Value) -> Self {
        let action = &value["Actions"]["#ComputerSystem.Reset"];
        let allowed = action["ResetType@Redfish.AllowableValues"].as_array();
        let usual = || {
            format!(
                "{}/Actions/ComputerSystem.Reset",
                path.trim_end_matches('/')
            )
        };
        Self {
            path: path.to_owned(),
            etag: text(&value["@odata.etag"]),
            look: Look {
                power: power(value["PowerState"].as_str()),
                restore: restore(value["PowerRestorePolicy"].as_str()),
            },
            reset: own_path(&action["target"]).unwrap_or_else(usual),
            allowed: allowed.into_iter().flatten().filter_map(text).collect(),
            media: link(value, "VirtualMedia"),
            manager: value["Links"]["ManagedBy"]
                .get(0)
                .and_then(|manager| own_path(&manager["@odata.id"])),
            boot: value["Boot"].clone(),
        }
    }

    /// What this controller calls a button; `None` if it has none such.
    pub(super) fn reset_type(&self, button: Button) -> Option<&'static str> {
        let names: &[&'static str] = match button {
            Button::On => &["On", "ForceOn"],
            Button::Off => &["ForceOff"],
            Button::AskToRestart => &["GracefulRestart"],
            Button::Restart => &["ForceRestart", "PowerCycle"],
        };
        let has =
            |name: &&&str| self.allowed.is_empty() || self.allowed.iter().any(|one| one == **name);
        names.iter().find(has).copied()
    }

    /// Whether it shows what it was told to boot from.
    pub(super) fn boots_as(&self, wanted: &Value) -> bool {
        let address = &wanted["HttpBootUri"];
        let target = "BootSourceOverrideTarget";
        (address.is_string() && self.boot["HttpBootUri"] == *address)
            || self.boot[target] == wanted[target]
    }
}

/// A virtual medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Medium {
    pub(super) path: String,
    pub(super) takes_discs: bool,
    pub(super) is_inserted: bool,
    pub(super) image: Option<String>,
    /// Where an image is inserted and ejected; `None` for the older way, by changing the resource.
    pub(super) insert: Option<String>,
    pub(super) eject: Option<String>,
}

impl Medium {
    pub(super) fn read(path: &str, value: &Value) -> Self {
        let kinds = value["MediaTypes"].as_array();
        let is_disc = |kind: &Value| kind == "CD" || kind == "DVD";
        let action = |name: &str| own_path(&value["Actions"][name]["target"]);
        Self {
            path: path.to_owned(),
            takes_discs: kinds.is_some_and(|kinds| kinds.iter().any(is_disc)),
            is_inserted: value["Inserted"] == true,
            image: text(&value["Image"]),
            insert: action("#VirtualMedia.InsertMedia"),
            eject: action("#VirtualMedia.EjectMedia"),
        }
    }
}

fn power(state: Option<&str>) -> Power {
    match state {
        Some("On") => Power::On,
        Some("Off") => Power::Off,
        Some("PoweringOn") => Power::TurningOn,
        Some("PoweringOff") => Power::TurningOff,
        _ => Power::Unclear,
    }
}

fn restore(policy: Option<&str>) -> Restore {
    match policy {
        Some("AlwaysOff") => Restore::StaysOff,
        Some("AlwaysOn") => Restore::Starts,
        _ => Restore::Unsure,
    }
}

/// The path of the one member of a list. A controller that starts itself has none yet.
pub(super) fn only_member(list: &Value) -> Result<String, ProvisionError> {
    match &members(list)[..] {
        [one] => Ok(one.clone()),
        [] => Err(ProvisionError::unavailable(
            "the controller has no system (yet)",
        )),
        all => Err(ProvisionError::failed(format!(
            "the controller has {} systems; name the node's with `system` in the inventory",
            all.len()
        ))),
    }
}

/// The paths of the members of a list.
pub(super) fn members(list: &Value) -> Vec<String> {
    let all = list["Members"].as_array().into_iter().flatten();
    all.take(MEMBERS_MAX)
        .filter_map(|member| own_path(&member["@odata.id"]))
        .collect()
}

/// The path that a resource names.
pub(super) fn link(value: &Value, name: &str) -> Option<String> {
    own_path(&value[name]["@odata.id"])
}

/// A path on this controller, and nowhere else: credentials go with the request.
fn own_path(value: &Value) -> Option<String> {
    let path = value.as_str()?;
    let is_own = path.starts_with('/') && !path.starts_with("//") && path.len() < 1024;
    is_own.then(|| path.to_owned())
}

fn text(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| text.len() < 4096)
        .map(str::to_owned)
}

/// The answer, unless the controller has no room for the request, or no session: then nothing was done.
pub(super) fn unless_busy(response: Response) -> Result<Response, ProvisionError> {
    match response.status.as_u16() {
        429 | 503 => Err(ProvisionError::Throttled {
            retry_after: response.retry_after(),
        }),
        _ => Ok(response),
    }
}

/// What an answer to a change means. A refusal is [`ProvisionError::Failed`], and no more than a word: many refuse what is so
/// already.
pub(super) fn judge(response: Response) -> Result<(), ProvisionError> {
    let status = response.status.as_u16();
    match status {
        200..=299 => Ok(()),
        501 => Err(ProvisionError::Unsupported(format!(
            "do this: {}: {}",
            response.what,
            words(&response)
        ))),
        400 | 402 | 404..=428 | 430..=499 => Err(ProvisionError::failed(format!(
            "{}: {status} {}",
            response.what,
            words(&response)
        ))),
        _ => response.accepted().map(|_| ()),
    }
}

/// The controller's own words.
fn words(response: &Response) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let error = &body["error"];
    let more = error["@Message.ExtendedInfo"]
        .get(0)
        .and_then(|info| info["Message"].as_str());
    match more.or(error["message"].as_str()) {
        Some(words) => words.chars().take(200).collect(),
        None => response.reason(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let value = json!({
            "@odata.etag": "W/\"5\"",
            "PowerState": "On",
            "PowerRestorePolicy": "AlwaysOn",
            "Boot": { "BootSourceOverrideTarget": "Pxe" },
            "Actions": { "#ComputerSystem.Reset": {
                "target": "/redfish/v1/Systems/1/Actions/Reset",
                "ResetType@Redfish.AllowableValues": ["ForceOn", "ForceOff", "PowerCycle"],
            } },
            "Links": { "ManagedBy": [{ "@odata.id": "/redfish/v1/Managers/1" }] },
        });
        let system = System::read("/redfish/v1/Systems/1", &value);
        assert_eq!(
            system.look,
            Look {
                power: Power::On,
                restore: Restore::Starts
            }
        );
        assert_eq!(system.reset, "/redfish/v1/Systems/1/Actions/Reset");
        assert_eq!(
            (system.etag.as_deref(), system.media.as_deref()),
            (Some("W/\"5\""), None)
        );
        assert_eq!(system.manager.as_deref(), Some("/redfish/v1/Managers/1"));
        assert_eq!(system.reset_type(Button::On), Some("ForceOn"));
        assert_eq!(system.reset_type(Button::Restart), Some("PowerCycle"));
        assert_eq!(system.reset_type(Button::AskToRestart), None);
        assert!(system.boots_as(&json!({ "BootSourceOverrideTarget": "Pxe" })));
        assert!(!system.boots_as(&json!({ "BootSourceOverrideTarget": "Cd" })));
    }

    #[test]
    fn only_a_node_that_always_stays_off_is_sure_to() {
        let read = |policy: &str| {
            let value = json!({ "PowerState": "Off", "PowerRestorePolicy": policy });
            System::read("/x", &value).look.restore
        };
        assert_eq!(read("AlwaysOff"), Restore::StaysOff);
        assert_eq!(read("AlwaysOn"), Restore::Starts);
        for unsure in ["LastState", "", "Other"] {
            assert_eq!(read(unsure), Restore::Unsure);
        }
    }

    #[test]
    fn what_is_not_said_is_nothing() {
        let system = System::read("/redfish/v1/Systems/1/", &json!({ "PowerState": 5 }));
        assert_eq!(
            system.look,
            Look {
                power: Power::Unclear,
                restore: Restore::Unsure
            }
        );
        assert_eq!(
            system.reset,
            "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"
        );
        assert_eq!(system.reset_type(Button::On), Some("On"));
        for none in [json!({ "Members": 5 }), json!({ "Members": [] })] {
            let error = only_member(&none).expect_err("none");
            assert!(matches!(error, ProvisionError::Unavailable(_)), "{error}");
        }
    }

    #[test]
    fn a_controller_sends_nobody_elsewhere() {
        for elsewhere in ["https://evil/x", "//evil/x", ""] {
            assert_eq!(own_path(&json!(elsewhere)), None);
        }
        let list = json!({ "Members": [{ "@odata.id": "https://evil" }, { "@odata.id": "/s/1" }] });
        assert_eq!(only_member(&list), Ok("/s/1".to_owned()));
    }

    proptest! {
        #[test]
        fn no_answer_panics(text in "[\\[{\"a-zA-Z@.#:0-9,}\\]]{0,80}") {
            let value: Value = serde_json::from_str(&text).unwrap_or(json!([text, { "Actions": [1] }]));
            let _ = System::read("/x", &value);
            let _ = Medium::read("/x", &value);
            let _ = members(&value);
        }
    }
}
