//! What is drawn besides machines that fail: leases for pets and providers that can prove nothing, clocks that are off, and
//! people who order and cordon.
//!
//! Drawn from a source of its own, so that it changes nothing of what a seed stood for before.

use std::time::Duration;

use super::TROUBLE_S;
use crate::fleet::limits::SECOND_MS;
use crate::fleet::{Allocation, LeaseTerms, Rule, Rung, Would};
use crate::simulate::fault::{Fault, FaultKind, Target};
use crate::simulate::random::Random;
use crate::simulate::scenario::Scenario;

/// The furthest that a clock is set off, in milliseconds.
const OFF_MS_MAX: u64 = 300 * SECOND_MS;

/// What one clock may gain or lose while leases hold: half of what two may differ by.
const DRIFT_MAX: f64 = crate::fleet::DRIFT_PERCENT as f64 / 200.0;

pub(super) fn add(scenario: &mut Scenario, random: &mut Random) {
    let pets = |allocation: &Allocation| matches!(allocation, Allocation::Pets { .. });
    if random.chance(0.5) {
        let lease_ms = random.between(5, 30) * SECOND_MS;
        let stop_ms = LeaseTerms::stop_ms_default(lease_ms);
        let terms = LeaseTerms { lease_ms, stop_ms };
        let mut specs = scenario.specs.iter_mut();
        if let Some(spec) = specs.find(|spec| pets(&spec.allocation)) {
            spec.heal.lease = Some(terms);
            scenario.cloud.blind = random.chance(0.5);
        }
    }
    for _ in 0..random.between(0, 3) {
        let fault = fault(random);
        scenario.faults.push(fault);
    }
}

fn fault(random: &mut Random) -> Fault {
    let kind = match random.between(0, 9) {
        0..=1 => FaultKind::ClockAhead(off(random)),
        2..=3 => FaultKind::ClockBehind(off(random)),
        4 => FaultKind::ClockFast(random.share() * DRIFT_MAX),
        5 => FaultKind::ClockSlow(random.share() * DRIFT_MAX),
        6 => FaultKind::Cordon,
        _ => FaultKind::Order {
            what: what(random),
            force: force(random),
        },
    };
    let target = match random.between(0, 4) {
        0 => Target::Leader,
        1 => Target::Any(2),
        _ => Target::Any(1),
    };
    let at = Duration::from_millis(random.between(0, TROUBLE_S * 1000));
    let lasts = Duration::from_secs(random.between(1, TROUBLE_S));
    let stands = matches!(kind, FaultKind::Order { .. });
    Fault {
        kind,
        target,
        at,
        lasts: (!stands).then_some(lasts),
    }
}

/// Mostly little.
fn off(random: &mut Random) -> Duration {
    let share = random.share();
    // No `powi`: what that comes to may differ from one build to another.
    Duration::from_millis((share * share * share * OFF_MS_MAX as f64) as u64)
}

fn what(random: &mut Random) -> Would {
    let all = [
        Would::Treat(Rung::RestartWorkload),
        Would::Treat(Rung::Reboot),
        Would::Treat(Rung::PowerCycle),
        Would::Drain,
        Would::Replace,
    ];
    random.pick(&all).copied().unwrap_or(Would::Replace)
}

/// Any rule, also one that can't be forced: the order is refused then.
fn force(random: &mut Random) -> Option<Rule> {
    let forced = random.chance(0.4);
    random.pick(&Rule::ORDER).copied().filter(|_| forced)
}
