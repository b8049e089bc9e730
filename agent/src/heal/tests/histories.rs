//! Random histories: machines that fail, leaders that change, commands that come late, twice or out of order,
//! executors that lose their answers, providers that can't say, clocks that jump, people who change their minds.
//!
//! Each history is checked after every command (see [`oracle`]). Then everything that was broken is mended, and the
//! fleet must come to rest as it was declared.

mod oracle;
mod sim;

use proptest::prelude::*;

use crate::fleet::{HealMode, Rung, Would};
use sim::{Condition, Effect, Sim};

/// One thing that happens.
#[derive(Debug, Clone)]
enum Happening {
    /// A machine's condition changes.
    Befalls { machine: u8, condition: Condition },
    /// Another machine leads.
    LeaderChange { machine: u8, skew_ms: i32 },
    /// The leader hears from so many machines only, or from all.
    Isolation { hears: Option<u8> },
    /// All goes well for a moment: the leader decides, it is committed, carried out and reported.
    Round,
    /// The leader decides; what it proposes is on its way.
    Look,
    /// A command that is on its way arrives, not necessarily the first.
    Arrives { which: u8 },
    /// A command that arrived before arrives once more.
    ArrivesAgain { which: u8 },
    /// A command that is on its way is lost.
    Lost { which: u8 },
    /// An executor does the next step of an intent, with or without success, and reports it or not.
    Executes { which: u8, effect: Effect },
    /// An executor begins the next step of an intent, and takes its time.
    Begins { which: u8 },
    /// An executor does what it began before, whoever leads by now, if its time is not up.
    Ends { which: u8, effect: Effect },
    /// A machine that was made asks to be let in.
    Joins { which: u8 },
    /// Time passes.
    Passes { ms: u32 },
    /// The leader's clock jumps.
    ClockJumps { ms: i32 },
    /// The provider answers, or can't say.
    Provider { answers: bool },
    /// The cattle group is scaled.
    Scaled { size: u8 },
    /// The last pet is no member any more, or is one again.
    PetMember { present: bool },
    /// A group and all its machines are to go, or its machines are let go.
    Undeclared { group: u8, destroy: bool },
    /// Groups that are no more are declared again.
    Declared,
    /// A group's heal mode changes.
    Mode { group: u8, mode: HealMode },
    /// A person approves what waits for that.
    Approved { which: u8 },
    /// A person asks for something to be done to a machine, with or without forcing rules.
    Asked {
        machine: u8,
        what: Would,
        forced: bool,
    },
    /// What was asked for is taken back.
    Cancelled { which: u8 },
    /// A machine is cordoned, or not any more.
    Cordoned { machine: u8, begins: bool },
    /// A pause begins or ends.
    Pause { begins: bool },
    /// The state is stored and loaded again.
    Restart,
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => Just(Condition::Dead),
        2 => Just(Condition::Silent),
        2 => Just(Condition::Slow),
        2 => Just(Condition::AgentDown),
        2 => Just(Condition::Ailing),
        1 => Just(Condition::LeftForGood),
        4 => Just(Condition::Up),
    ]
}

fn mode() -> impl Strategy<Value = HealMode> {
    prop_oneof![
        Just(HealMode::Auto),
        Just(HealMode::Approve),
        Just(HealMode::Observe)
    ]
}

fn deed() -> impl Strategy<Value = Would> {
    prop_oneof![
        3 => Just(Would::Replace),
        2 => Just(Would::Drain),
        2 => Just(Would::Treat(Rung::Reboot)),
        1 => Just(Would::Treat(Rung::PowerCycle)),
        1 => Just(Would::Treat(Rung::Reimage)),
        1 => Just(Would::Treat(Rung::RestartWorkload)),
        1 => Just(Would::Retire),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let effect = prop_oneof![
        6 => Just(Effect::Done),
        1 => Just(Effect::DoneUnreported),
        1 => Just(Effect::DoneAndError),
        1 => Just(Effect::Error),
        1 => Just(Effect::GaveUp),
    ];
    prop_oneof![
        6 => (any::<u8>(), condition()).prop_map(|(machine, condition)| Befalls { machine, condition }),
        1 => (any::<u8>(), -90_000..90_000).prop_map(|(machine, skew_ms)| LeaderChange { machine, skew_ms }),
        1 => prop::option::weighted(0.3, 0u8..8).prop_map(|hears| Isolation { hears }),
        10 => Just(Round),
        4 => Just(Look),
        5 => any::<u8>().prop_map(|which| Arrives { which }),
        1 => any::<u8>().prop_map(|which| ArrivesAgain { which }),
        1 => any::<u8>().prop_map(|which| Lost { which }),
        4 => (any::<u8>(), effect.clone()).prop_map(|(which, effect)| Executes { which, effect }),
        2 => any::<u8>().prop_map(|which| Begins { which }),
        2 => (any::<u8>(), effect).prop_map(|(which, effect)| Ends { which, effect }),
        2 => any::<u8>().prop_map(|which| Joins { which }),
        4 => prop_oneof![1u32..2000, 1000u32..40_000, 60_000u32..1_800_000].prop_map(|ms| Passes { ms }),
        1 => (-3_600_000..3_600_000).prop_map(|ms| ClockJumps { ms }),
        1 => prop::bool::weighted(0.7).prop_map(|answers| Provider { answers }),
        1 => prop_oneof![4 => 3u8..7, 1 => 0u8..3].prop_map(|size| Scaled { size }),
        1 => any::<bool>().prop_map(|present| PetMember { present }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(group, destroy)| Undeclared { group, destroy }),
        1 => Just(Declared),
        1 => (any::<u8>(), mode()).prop_map(|(group, mode)| Mode { group, mode }),
        1 => any::<u8>().prop_map(|which| Approved { which }),
        2 => (any::<u8>(), deed(), any::<bool>())
            .prop_map(|(machine, what, forced)| Asked { machine, what, forced }),
        1 => any::<u8>().prop_map(|which| Cancelled { which }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(machine, begins)| Cordoned { machine, begins }),
        1 => prop::bool::weighted(0.3).prop_map(|begins| Pause { begins }),
        1 => Just(Restart),
    ]
}

fn happen(sim: &mut Sim, happening: &Happening) {
    match *happening {
        Happening::Befalls { machine, condition } => sim.befall(machine, condition),
        Happening::LeaderChange { machine, skew_ms } => sim.elect(machine, skew_ms),
        Happening::Isolation { hears } => sim.hears = hears.map(usize::from),
        Happening::Round => sim.round(),
        Happening::Look => sim.look(),
        Happening::Arrives { which } => sim.arrive(which),
        Happening::ArrivesAgain { which } => sim.arrive_again(which),
        Happening::Lost { which } => sim.lose(which),
        Happening::Executes { which, effect } => sim.execute(which, effect),
        Happening::Begins { which } => sim.begin(which),
        Happening::Ends { which, effect } => sim.end(which, effect),
        Happening::Joins { which } => sim.join(which),
        Happening::Passes { ms } => sim.pass(u64::from(ms)),
        Happening::ClockJumps { ms } => sim.skew_ms += i64::from(ms),
        Happening::Provider { answers } => sim.provider_answers = answers,
        Happening::Scaled { size } => sim.scale(u32::from(size)),
        Happening::PetMember { present } => sim.declare_pets(present),
        Happening::Undeclared { group, destroy } => sim.undeclare(group, destroy),
        Happening::Declared => sim.declare(),
        Happening::Mode { group, mode } => sim.set_mode(group, mode),
        Happening::Approved { which } => sim.approve(which),
        Happening::Asked {
            machine,
            what,
            forced,
        } => sim.ask(machine, what, forced),
        Happening::Cancelled { which } => sim.cancel(which),
        Happening::Cordoned { machine, begins } => sim.cordon(machine, begins),
        Happening::Pause { begins } => sim.pause(begins),
        Happening::Restart => sim.restart(),
    }
}

/// So many histories are tried: 200, or as many as `PROPTEST_CASES` says. One that fails is made small and printed with
/// its seed, which belongs into `proptest-regressions/`.
fn cases() -> u32 {
    let given = std::env::var("PROPTEST_CASES").ok();
    given.and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 3000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold_and_the_fleet_comes_to_rest(
        happenings in prop::collection::vec(happening(), 1..160),
    ) {
        let mut sim = Sim::new();
        for happening in &happenings {
            happen(&mut sim, happening);
        }
        sim.mend();
        sim.come_to_rest();
        sim.replay();
    }

    #[test]
    fn damaged_commands_are_refused_or_do_something_else_and_never_panic(
        happenings in prop::collection::vec(happening(), 1..60),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 40),
    ) {
        let mut sim = Sim::new();
        for happening in &happenings {
            happen(&mut sim, happening);
        }
        for (command, at, byte) in damages {
            let log = &sim.oracle.log;
            let mut bytes = log[command.index(log.len())].clone();
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
            sim.damaged(&bytes);
        }
    }
}
