//! `muster group`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::duration;
use crate::api::types::HealMode;
use crate::spec::infrakit::export::Envelope;

/// What can be done with groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// All groups
    List,
    /// One group: spec, budget, machines
    #[command(
        after_help = "Examples:\n  muster group show web\n  muster group show web --spec > web.toml"
    )]
    Show {
        /// The group's ID.
        id: String,
        /// Only the spec, as TOML that `muster apply` takes.
        #[arg(long)]
        spec: bool,
    },
    /// Write groups as specs, for `muster apply` or for InfraKit
    #[command(after_help = "Examples:\n  muster group export web > web.toml\n  \
        muster group export web --infrakit > web.json\n  muster group export --infrakit --envelope list > all.json\n\n\
        What InfraKit has no words for (labels, placement, heal) is left out, and said on standard error.")]
    Export {
        /// The group's ID; all groups when absent.
        id: Option<String>,
        /// As a spec for InfraKit, in JSON.
        #[arg(long)]
        infrakit: bool,
        /// In which of the envelopes that InfraKit knew.
        #[arg(
            long,
            value_name = "FORM",
            default_value = "plain",
            requires = "infrakit"
        )]
        envelope: EnvelopeWord,
    },
    /// Take over a fleet that InfraKit runs, without replacing a machine
    #[command(
        after_help = "Examples:\n  muster group adopt -f group.json --dry-run\n  muster group adopt -f group.json --yes\n\n\
        FILE is the spec that InfraKit runs. Its instances are found by the tag infrakit.group, and have to be made from that \
        very spec, as the hash says that InfraKit put on them. Stop InfraKit's own group controller first, or free the group \
        there: two that heal one group fight. Until an agent joins from an instance (a token for the group, and the machine's \
        name), only its provisioner watches over it, and it is replaced only where that says that it is gone."
    )]
    Adopt {
        /// The spec that InfraKit runs.
        #[arg(short, long, value_name = "FILE", required = true)]
        file: PathBuf,
        /// Don't ask. Without a terminal this must be said.
        #[arg(short, long)]
        yes: bool,
        /// Only show what would be taken over.
        #[arg(long)]
        dry_run: bool,
    },
    /// Change the number of machines of a cattle group
    #[command(
        after_help = "Scaling in takes the unhealthy machines first, then the newest, drains them, and keeps \
        to the group's budget. Scaling to 0 asks first."
    )]
    Scale {
        /// The group's ID.
        id: String,
        /// The new size.
        size: u32,
        /// Don't ask before scaling to 0. Without a terminal this must be said.
        #[arg(short, long)]
        yes: bool,
        /// Only show what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Stop healing and scaling a group, or the whole fleet
    Pause {
        /// The group's ID; the whole fleet when absent.
        id: Option<String>,
        /// Why, for those who come later.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// For how long; until `muster group resume` when absent.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        period: Option<Duration>,
    },
    /// End a pause, and a group's waiting after orders that failed
    Resume {
        /// The group's ID; the whole fleet when absent.
        id: Option<String>,
    },
    /// Retire all machines of a group, then forget it
    Destroy {
        /// The group's ID.
        id: String,
        /// Don't ask. Without a terminal this must be said.
        #[arg(short, long)]
        yes: bool,
    },
    /// Forget a group and leave its machines running
    Free {
        /// The group's ID.
        id: String,
        /// Don't ask. Without a terminal this must be said.
        #[arg(short, long)]
        yes: bool,
    },
    /// Set how far healing may go without a person
    HealMode {
        /// The group's ID.
        id: String,
        /// The new mode.
        mode: HealModeWord,
    },
}

/// The envelopes of InfraKit's specs, as words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvelopeWord {
    /// An object of ID and Properties, one after the other.
    Plain,
    /// One list, as InfraKit's manager takes it.
    List,
    /// With kind and metadata, one after the other.
    Kind,
}

impl From<EnvelopeWord> for Envelope {
    fn from(word: EnvelopeWord) -> Self {
        match word {
            EnvelopeWord::Plain => Self::Plain,
            EnvelopeWord::List => Self::List,
            EnvelopeWord::Kind => Self::Kind,
        }
    }
}

/// Heal modes as words of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HealModeWord {
    /// Act without asking.
    Auto,
    /// Decide, and wait for `muster approve`.
    Approve,
    /// Only say what would be done.
    Observe,
}

impl From<HealModeWord> for HealMode {
    fn from(word: HealModeWord) -> Self {
        match word {
            HealModeWord::Auto => Self::Auto,
            HealModeWord::Approve => Self::Approve,
            HealModeWord::Observe => Self::Observe,
        }
    }
}
