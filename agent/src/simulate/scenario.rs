//! What a simulation starts from, and what happens to it: plain data.

use std::time::Duration;

use super::fault::Fault;
use crate::fleet::{GroupSpec, Rule};

/// The longest simulation: a week.
pub const LENGTH_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Most machines of a simulation. Each knows each other, so memory grows with the square.
pub const MACHINES_MAX: usize = 5000;

/// Most faults of a simulation.
pub const FAULTS_MAX: usize = 1000;

/// What a simulation starts from, and what happens to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Decides everything that is random.
    pub seed: u64,
    /// The groups. All their machines have run for a day when the simulation begins.
    pub specs: Vec<GroupSpec>,
    /// How much virtual time passes.
    pub length: Duration,
    /// Share of packets that get lost, everywhere and always. Default 0.
    pub loss: f64,
    /// What makes machines.
    pub cloud: CloudModel,
    /// What happens, in any order.
    pub faults: Vec<Fault>,
    /// Drive the membership through every second, also through those in which nothing happens. Slower. Default false.
    pub exact: bool,
    /// A safeguard that is left out, to see what it is good for. Default none.
    pub left_out: Option<Safeguard>,
}

/// What keeps a fleet from harm, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safeguard {
    /// A rule that decisions pass through.
    Rule(Rule),
    /// Asking anew, right before each step, whether enough machines stand behind the leader.
    Permit,
    /// Looking once more, right before each step, whether its machine is back.
    SecondLook,
    /// That a machine which is to be off is off before its successor is made, and not only told to be.
    Proof,
    /// That the provider knows an operation again.
    OperationId,
    /// Waiting until a lease is over where nothing proves that its machine is off.
    Lease,
}

impl Scenario {
    /// An hour of a fleet of these groups to which nothing happens.
    pub fn new(seed: u64, specs: Vec<GroupSpec>) -> Self {
        Self {
            seed,
            specs,
            length: Duration::from_secs(3600),
            loss: 0.0,
            cloud: CloudModel::default(),
            faults: Vec::new(),
            exact: false,
            left_out: None,
        }
    }
}

/// How the modelled cloud behaves while nothing is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CloudModel {
    /// From an accepted order until the new machine asks to join, give or take a fifth. Default 40 s.
    pub boot: Duration,
    /// How long a call takes. Default 500 ms.
    pub latency: Duration,
    /// How long a list may show what was before. Default 5 s.
    pub list_lag: Duration,
    /// Share of calls that fail and do nothing. Default 0.
    pub errors: f64,
    /// Share of calls that do what they should, and answer with an error or not at all. Default 0.
    pub lies: f64,
    /// Instances that it makes a minute; what is above that is throttled. Default no limit.
    pub per_minute: Option<u32>,
    /// Share of instances that never come up. Default 0.
    pub duds: f64,
    /// Whether it has lost sight of its hosts: it says that all instances run, and can neither prove one off nor end it.
    /// Default false.
    pub blind: bool,
    /// Whether its machines are hardware: it can write their systems anew, and what is silent has its power cycled first.
    /// Default false.
    pub hardware: bool,
}

impl Default for CloudModel {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(40),
            latency: Duration::from_millis(500),
            list_lag: Duration::from_secs(5),
            errors: 0.0,
            lies: 0.0,
            per_minute: None,
            duds: 0.0,
            blind: false,
            hardware: false,
        }
    }
}
