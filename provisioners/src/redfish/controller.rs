//! What a node's controller can be asked, whatever it speaks.

use std::fmt;

use async_trait::async_trait;

use crate::{Deadline, ProvisionError, Secret};

/// A node's controller: the small computer beside it that holds its power and its boot order.
///
/// Nothing that it says of a change is believed: success is what [`look`](Self::look) shows afterwards.
#[async_trait]
pub(super) trait Controller: fmt::Debug + Send + Sync {
    /// How the node is.
    async fn look(&self, deadline: Deadline) -> Result<Look, ProvisionError>;

    /// Presses a button. [`ProvisionError::Unsupported`] if it has none such; [`ProvisionError::Failed`] if it refuses, as many do
    /// with what is so already.
    async fn press(&self, button: Button, deadline: Deadline) -> Result<(), ProvisionError>;

    /// Says what the node starts from next time.
    async fn set_boot(&self, boot: &Boot, deadline: Deadline) -> Result<(), ProvisionError>;
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) power: Power,
    pub(super) restore: Restore,
}

/// What a node does by itself when the hall's power comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restore {
    /// It stays off, whatever it was before.
    StaysOff,
    /// What it did before, or the controller doesn't say: it may be off now and start in a moment.
    Unsure,
    /// It starts, even if it was off.
    Starts,
}

/// A node's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    On,
    Off,
    /// On its way to be on.
    TurningOn,
    /// On its way to be off.
    TurningOff,
    /// The controller says something else, or nothing.
    Unclear,
}

/// What can be pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Button {
    On,
    /// Takes the power away at once.
    Off,
    /// Asks the operating system to restart.
    AskToRestart,
    /// Resets at once.
    Restart,
}

/// What a node starts from next time.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Boot {
    /// Whatever its firmware is set to; a virtual medium is taken out.
    Usual,
    Pxe,
    Disk,
    /// An address, by UEFI HTTP boot. It may hold a key.
    Http(Secret),
    /// An image, as a virtual medium. Its address may hold a key.
    Media(Secret),
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usual => "what it is set to",
            Self::Pxe => "the network",
            Self::Disk => "its disk",
            Self::Http(_) => "an address",
            Self::Media(_) => "a virtual medium",
        })
    }
}

/// By whom a controller is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: Secret,
}
