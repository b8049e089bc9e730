//! The figures of the fleet as one machine sees it.

use std::collections::BTreeMap;

use crate::health::{Level, Report};

use super::{Export, Exposition, Kind};

/// Which agent this is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Build {
    /// The agent's version.
    pub version: &'static str,
    /// The machine's name.
    pub machine: String,
    /// The cluster's ID.
    pub cluster: String,
}

/// The coordinators' log and what it holds, as far as this machine has followed it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FleetStats {
    /// Whether this machine is a coordinator.
    pub coordinator: bool,
    /// Whether this machine leads.
    pub leading: bool,
    /// Whether a leader is known.
    pub leader_known: bool,
    /// Whether the leader has a quorum of coordinators and more than half of the roster behind it.
    pub quorum: bool,
    /// How many coordinators there are.
    pub coordinators: u64,
    /// The present term of the log; each election starts another.
    pub term: u64,
    /// The last entry that this machine has applied.
    pub applied_index: u64,
    /// How long ago this machine's copy was last known to be complete, in milliseconds.
    pub copy_age_ms: u64,
    /// Members of the mesh by status: `alive`, `suspect`, `down`, `left`.
    pub members: BTreeMap<&'static str, u64>,
    /// The groups by ID.
    pub groups: BTreeMap<String, GroupStats>,
    /// Decisions that are remembered, by outcome: `act`, `hold`, `observe`, `approve`. The oldest are forgotten.
    pub decisions: BTreeMap<&'static str, u64>,
    /// Holds in force by rule.
    pub holds: BTreeMap<String, u64>,
    /// Instances that carry the fleet's tags and that nobody runs on.
    pub orphans: u64,
    /// Intents that are being carried out, by the step that they are at.
    pub intents: BTreeMap<&'static str, u64>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GroupStats {
    /// How many machines it should have.
    pub desired: u64,
    /// How many are alive and joined.
    pub running: u64,
    /// How many machines its heal budget would let it replace now.
    pub budget_left: f64,
    /// Whether a person stopped it.
    pub paused: bool,
    /// Whether so much failed in it that nothing more is tried.
    pub failed: bool,
    /// Pets whose successors could not be started safely if they failed now.
    pub not_healable: u64,
}

/// This machine's own health.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HealthStats(pub Report);

impl Export for Build {
    fn export(&self, out: &mut Exposition) {
        let help = "Which agent this is; always 1.";
        let labels = [
            ("version", self.version),
            ("machine", &self.machine),
            ("cluster", &self.cluster),
        ];
        out.family("muster_build_info", help, Kind::Gauge)
            .value(&labels, 1.0);
    }
}

impl Export for FleetStats {
    fn export(&self, out: &mut Exposition) {
        self.export_log(out);
        by(
            out,
            "muster_members",
            "Members of the mesh by status.",
            Kind::Gauge,
            "status",
            &self.members,
        );
        self.export_groups(out);
        by(
            out,
            "muster_decisions",
            "Decisions that are remembered, by outcome.",
            Kind::Gauge,
            "outcome",
            &self.decisions,
        );
        by(
            out,
            "muster_holds",
            "Holds in force by rule.",
            Kind::Gauge,
            "rule",
            &self.holds,
        );
        by(
            out,
            "muster_intents",
            "Open intents by step.",
            Kind::Gauge,
            "step",
            &self.intents,
        );
    }
}

impl FleetStats {
    fn export_log(&self, out: &mut Exposition) {
        let flag = |is: bool| if is { 1.0 } else { 0.0 };
        for (name, help, value) in [
            (
                "muster_coordinator",
                "Whether this machine is a coordinator.",
                flag(self.coordinator),
            ),
            (
                "muster_leading",
                "Whether this machine leads.",
                flag(self.leading),
            ),
            (
                "muster_leader_known",
                "Whether a leader is known.",
                flag(self.leader_known),
            ),
            (
                "muster_quorum",
                "Whether the leader may act.",
                flag(self.quorum),
            ),
            (
                "muster_coordinators",
                "Coordinators that there are.",
                self.coordinators as f64,
            ),
            (
                "muster_log_term",
                "Present term of the coordinators' log.",
                self.term as f64,
            ),
            (
                "muster_log_applied_index",
                "Last log entry applied.",
                self.applied_index as f64,
            ),
            (
                "muster_orphans",
                "Instances with the fleet's tags that nobody runs on.",
                self.orphans as f64,
            ),
            (
                "muster_copy_age_seconds",
                "Age of the copy of the fleet state.",
                self.copy_age_ms as f64 / 1e3,
            ),
        ] {
            out.gauge(name, help, value);
        }
    }

    fn export_groups(&self, out: &mut Exposition) {
        type Figure = fn(&GroupStats) -> f64;
        let families: [(&'static str, &str, Figure); 6] = [
            (
                "muster_group_desired",
                "Machines that the group should have.",
                |group| group.desired as f64,
            ),
            (
                "muster_group_running",
                "Machines that are alive and joined.",
                |group| group.running as f64,
            ),
            (
                "muster_group_budget_left",
                "Replacements that the budget allows now.",
                |group| group.budget_left,
            ),
            (
                "muster_group_paused",
                "Whether a person stopped the group.",
                |group| f64::from(u8::from(group.paused)),
            ),
            (
                "muster_group_failed",
                "Whether so much failed in the group that nothing more is tried.",
                |group| f64::from(u8::from(group.failed)),
            ),
            (
                "muster_group_not_healable",
                "Pets whose successors could not be started safely.",
                |group| group.not_healable as f64,
            ),
        ];
        for (name, help, figure) in families {
            let mut family = out.family(name, help, Kind::Gauge);
            for (id, group) in &self.groups {
                family.value(&[("group", id)], figure(group));
            }
        }
    }
}

impl Export for HealthStats {
    fn export(&self, out: &mut Exposition) {
        let Self(report) = self;
        let level = match report.level() {
            Level::Ok => 0.0,
            Level::Warning => 1.0,
            Level::Critical => 2.0,
        };
        out.gauge(
            "muster_health_level",
            "Health of this machine: 0 ok, 1 warning, 2 critical.",
            level,
        );
        let mut findings = out.family(
            "muster_health_findings",
            "What is not as it should be.",
            Kind::Gauge,
        );
        for finding in &report.findings {
            let level = finding.level.to_string();
            findings.value(
                &[("subject", finding.subject.name()), ("level", &level)],
                1.0,
            );
        }
        let mut readings = out.family(
            "muster_health_reading",
            "Figures behind the health, by name.",
            Kind::Gauge,
        );
        for (name, value) in report.readings.named() {
            readings.value(&[("reading", name)], value);
        }
    }
}

/// Writes a family with one label.
fn by<K: AsRef<str>>(
    out: &mut Exposition,
    name: &'static str,
    help: &str,
    kind: Kind,
    label: &'static str,
    figures: &BTreeMap<K, u64>,
) {
    let mut family = out.family(name, help, kind);
    for (key, value) in figures {
        family.value(&[(label, key.as_ref())], *value as f64);
    }
}
