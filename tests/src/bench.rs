//! Measures a fleet, and Serf at the same size in the same run by the same means.
//!
//! Each system runs in a network namespace of its own, so that everything on its loopback is its traffic. What an
//! agent knows is read from its log as it is written. Memory and processor time come from the kernel.

pub mod explain;
pub mod figures;
pub mod log;
pub mod muster;
pub mod pet;
pub mod report;
pub mod scenarios;
pub mod serf;
pub mod usage;

use std::path::PathBuf;
use std::time::Duration;

use crate::fleet::Namespace;

/// One agent of a system under measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// What its system's logs call it.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// Its IP address.
    pub ip: String,
    /// Its process.
    pub pid: u32,
    /// Whether it does more than being a member: a coordinator of muster.
    pub is_coordinator: bool,
    /// Whether it is the one whose death costs most: the leader of muster.
    pub is_leader: bool,
    /// Its log.
    pub log: PathBuf,
    /// What `muster --node` takes to ask it; empty for another system's.
    pub node: String,
}

/// What a line of an agent's log tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The agent holds another one, by its key, to be dead.
    Down(String),
    /// The agent holds another one to be alive.
    Up(String),
}

/// A fleet of agents that can be measured.
pub trait System {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// Its network.
    fn namespace(&self) -> &Namespace;

    /// All agents that should be there now, once all of them know each other.
    fn agents(&mut self) -> Vec<Agent>;

    /// What a line of a log tells, if anything.
    fn news(&self) -> fn(&str) -> Option<News>;

    /// Changes the health of every agent once, within [`scenarios::CHURN_EVERY`], where it does not change by itself.
    fn change_health(&mut self, round: u32);

    /// Waits until an agent whose packets were dropped, and are not any more, is a member again in all eyes.
    fn welcome_back(&mut self, silenced: &Agent);

    /// Restores the full number after `victim` was lost; says when the replacement was ordered and when all was well,
    /// since `killed`, where the system does that by itself.
    fn restore(&mut self, victim: &Agent, killed: std::time::Instant) -> Restored;

    /// How long one agent takes to explain what was decided about another, asked as people do; `None` for a system that
    /// explains nothing.
    fn explain(&self, asked: &Agent, about: &Agent) -> Option<Duration>;
}

/// How a system got whole again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Restored {
    /// Until the replacement was ordered.
    pub ordered: Option<Duration>,
    /// Until the group was whole.
    pub whole: Option<Duration>,
}

/// A scenario that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which system, at which size, in which scenario.
    pub what: String,
    /// What went wrong.
    pub why: String,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which scenarios.
    pub scenarios: Vec<Scenario>,
    /// How long everything that is averaged over time is measured.
    pub window: Duration,
    /// How often everything that happens once is repeated.
    pub runs: u32,
}

/// One thing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing happens.
    Idle,
    /// `kill -9` of an agent that does not lead.
    Kill,
    /// `kill -9` of the leader.
    Leader,
    /// An agent's packets are dropped.
    Silent,
    /// Survivors explain a decision, its decider and half of the coordinators being dead.
    Explain,
    /// A pet's machine freezes, nobody can prove it off, and its lease runs out; also with the leader's death.
    Pet,
    /// The health of every machine changes every five seconds.
    Churn,
    /// This share of all packets is lost, in percent.
    Loss(u32),
}

impl Scenario {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 9] = [
        ("idle", Self::Idle),
        ("kill", Self::Kill),
        ("leader", Self::Leader),
        ("silent", Self::Silent),
        ("explain", Self::Explain),
        ("churn", Self::Churn),
        ("pet", Self::Pet),
        ("loss10", Self::Loss(10)),
        ("loss25", Self::Loss(25)),
    ];

    /// Whether Serf has nothing to show in it.
    pub fn is_of_muster_only(self) -> bool {
        matches!(self, Self::Leader | Self::Explain)
    }
}
