//! What is done to a system, and what is measured while it is.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::explain::explain;
use super::figures::Figures;
use super::log::LogWatch;
use super::{Agent, Failure, News, Plan, Scenario, System, pet, usage};
use crate::wait::{is_signalled, now, pause, poll};

/// After this time nothing of the start is left in the figures of an idle system.
const SETTLE: Duration = Duration::from_secs(20);
/// Nobody waits longer for a death to be known.
const KNOWN_MAX: Duration = Duration::from_secs(120);

/// Starts a system for a scenario.
pub type Start<'a> = &'a dyn Fn(Scenario) -> Box<dyn System>;

/// Measures a system of `size` agents in every scenario of the plan.
///
/// One that fails is noted, and the next one gets a system that was started anew.
pub fn run(name: &str, size: u32, plan: &Plan, start: Start<'_>) -> (Figures, Vec<Failure>) {
    let (mut figures, mut failures) = (Figures::default(), Vec::new());
    let mut running: Option<Box<dyn System>> = None;
    for (title, scenario) in Scenario::ALL {
        if !plan.scenarios.contains(&scenario) || (scenario.is_of_muster_only() && name == "serf") {
            continue;
        }
        if scenario == Scenario::Pet {
            // It has a fleet of its own, and Serf has no pets.
            running = None;
            if name == "muster" {
                let measured = catch_unwind(AssertUnwindSafe(|| {
                    pet::measure(size, plan.runs, &mut figures)
                }));
                note(
                    measured,
                    &mut failures,
                    format!("{name}, {size} agents, {title}"),
                );
            }
            continue;
        }
        // What makes the health change is started with the system.
        if scenario == Scenario::Churn {
            running = None;
        }
        let before = running.take();
        let measured = catch_unwind(AssertUnwindSafe(|| {
            let mut system = before.unwrap_or_else(|| start(scenario));
            measure(&mut *system, title, scenario, plan, &mut figures);
            system
        }));
        match measured {
            Ok(system) => running = Some(system).filter(|_| scenario != Scenario::Churn),
            Err(panic) => note(
                Err(panic),
                &mut failures,
                format!("{name}, {size} agents, {title}"),
            ),
        }
    }
    (figures, failures)
}

/// Notes what could not be measured; goes on unwinding where somebody wants the whole to end.
fn note(measured: std::thread::Result<()>, failures: &mut Vec<Failure>, what: String) {
    match measured {
        Ok(()) => {}
        Err(panic) if is_signalled() => resume_unwind(panic),
        Err(panic) => failures.push(Failure {
            what,
            why: reason(&*panic),
        }),
    }
}

/// What a panic said.
fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it said nothing")
        .to_owned()
}

fn measure(
    system: &mut dyn System,
    title: &str,
    scenario: Scenario,
    plan: &Plan,
    figures: &mut Figures,
) {
    let runs = match scenario {
        Scenario::Kill | Scenario::Leader | Scenario::Silent | Scenario::Explain => plan.runs,
        Scenario::Idle | Scenario::Churn | Scenario::Loss(_) | Scenario::Pet => 1,
    };
    for round in 0..runs {
        eprintln!("{}: {title}, {} of {runs}", system.name(), round + 1);
        match scenario {
            Scenario::Idle => idle(system, plan, figures),
            Scenario::Kill => kill(system, figures, "kill", |agent| !agent.is_leader, round),
            Scenario::Leader => kill(system, figures, "leader", |agent| agent.is_leader, round),
            Scenario::Silent => silent(system, figures, round),
            Scenario::Explain => explain(system, figures, round),
            Scenario::Churn => churn(system, plan, figures),
            // Measured in a fleet of its own.
            Scenario::Pet => {}
            Scenario::Loss(percent) => loss(system, plan, figures, percent),
        }
    }
}

fn idle(system: &mut dyn System, plan: &Plan, figures: &mut Figures) {
    pause(SETTLE);
    let agents = system.agents();
    let spent = observe(system, &agents, plan.window);
    figures.add("packets_per_s", spent.packets_per_s);
    figures.add("bytes_per_s", spent.bytes_per_s);
    for agent in &agents {
        let usage = usage::of(agent.pid);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        if agent.is_coordinator {
            figures.add("coordinator_resident_mib", mib(usage.resident_bytes));
        } else {
            figures.add("resident_mib", mib(usage.resident_bytes));
            figures.add("proportional_mib", mib(usage.proportional_bytes));
        }
    }
    let cpu = &spent.cpu_s_per_min;
    let of = |coordinators| mean(&agents, cpu, coordinators);
    add_if_any(figures, "cpu_s_per_min", of(false));
    add_if_any(figures, "coordinator_cpu_s_per_min", of(true));
}

/// The mean over the coordinators, or over all others. The kernel tells processor time in hundredths of a second, a fifth of
/// what an idle agent needs in a minute, so that a median would be one of a few steps.
fn mean(agents: &[Agent], values: &[f64], coordinators: bool) -> Option<f64> {
    let fitting: Vec<f64> = (agents.iter().zip(values))
        .filter(|(agent, _)| agent.is_coordinator == coordinators)
        .map(|(_, value)| *value)
        .collect();
    (!fitting.is_empty()).then(|| fitting.iter().sum::<f64>() / fitting.len() as f64)
}

fn add_if_any(figures: &mut Figures, name: &str, value: Option<f64>) {
    if let Some(value) = value {
        figures.add(name, value);
    }
}

/// How often the health of every machine changes in `churn`.
pub const CHURN_EVERY: Duration = Duration::from_secs(5);

/// Measures a system whose health changes all the time.
fn churn(system: &mut dyn System, plan: &Plan, figures: &mut Figures) {
    pause(SETTLE);
    let agents = system.agents();
    let rounds = u32::try_from(plan.window.as_secs() / CHURN_EVERY.as_secs())
        .unwrap_or(1)
        .max(1);
    let start = Snapshot::take(system, &agents);
    for round in 0..rounds {
        let next = start.at + CHURN_EVERY * (round + 1);
        system.change_health(round);
        pause(next.saturating_duration_since(now()));
    }
    let spent = start.until(&Snapshot::take(system, &agents));
    figures.add("churn_packets_per_s", spent.packets_per_s);
    figures.add("churn_bytes_per_s", spent.bytes_per_s);
    let of = |cpu: &[f64]| mean(&agents, cpu, false);
    add_if_any(figures, "churn_cpu_s_per_min", of(&spent.cpu_s_per_min));
    let commands = of(&spent.commands_s_per_min);
    add_if_any(figures, "churn_commands_cpu_s_per_min", commands);
}

fn kill(
    system: &mut dyn System,
    figures: &mut Figures,
    prefix: &str,
    fits: fn(&Agent) -> bool,
    round: u32,
) {
    let agents = system.agents();
    let Some(victim) = choose(&agents, fits, round) else {
        return;
    };
    let watch = LogWatch::start(&agents, system.news());
    let killed = now();
    kill_agent(&victim);
    wait_known(&watch, &agents, &victim, killed, figures, prefix);
    let restored = system.restore(&victim, killed);
    for (metric, time) in [("ordered", restored.ordered), ("whole", restored.whole)] {
        if let Some(time) = time {
            figures.add(&format!("{prefix}_{metric}_s"), time.as_secs_f64());
        }
    }
}

fn silent(system: &mut dyn System, figures: &mut Figures, round: u32) {
    let agents = system.agents();
    let Some(victim) = choose(&agents, |agent| !agent.is_leader, round) else {
        return;
    };
    let watch = LogWatch::start(&agents, system.news());
    let silenced = now();
    system.namespace().silence(&victim.ip);
    wait_known(&watch, &agents, &victim, silenced, figures, "silent");
    system.namespace().heal();
    system.welcome_back(&victim);
}

fn loss(system: &mut dyn System, plan: &Plan, figures: &mut Figures, percent: u32) {
    let agents = system.agents();
    let watch = LogWatch::start(&agents, system.news());
    system.namespace().lose(f64::from(percent) / 100.0);
    let spent = observe(system, &agents, plan.window);
    let dead = |learnt: super::log::Learnt| match learnt.news {
        News::Down(key) => Some(key),
        News::Up(_) => None,
    };
    let declared: BTreeSet<_> = watch.learnt().into_iter().filter_map(dead).collect();
    system.namespace().heal();
    figures.add(&format!("loss{percent}_bytes_per_s"), spent.bytes_per_s);
    figures.add(&format!("loss{percent}_packets_per_s"), spent.packets_per_s);
    figures.add(
        &format!("loss{percent}_false_deaths"),
        declared.len() as f64,
    );
    // Those who were declared down come back before anything else is measured.
    pause(SETTLE);
}

/// Notes when the first and the last survivor knew.
fn wait_known(
    watch: &LogWatch,
    agents: &[Agent],
    victim: &Agent,
    since: Instant,
    figures: &mut Figures,
    prefix: &str,
) {
    let survivors = agents.len() - 1;
    let _ = poll(KNOWN_MAX, Duration::from_millis(20), || {
        let mut known = watch.down(&victim.key);
        known.remove(&victim.key);
        if known.len() >= survivors {
            Ok(())
        } else {
            Err(format!("{} know", known.len()))
        }
    });
    let mut known = watch.down(&victim.key);
    known.remove(&victim.key);
    let mut times: Vec<_> = known
        .values()
        .map(|at| at.duration_since(since).as_secs_f64())
        .collect();
    times.sort_by(f64::total_cmp);
    if let Some(first) = times.first() {
        figures.add(&format!("{prefix}_first_s"), *first);
    }
    // Who never knew counts as the longest wait: it must not make the figure better.
    let all = if times.len() >= survivors {
        times.last().copied()
    } else {
        None
    };
    figures.add(
        &format!("{prefix}_all_s"),
        all.unwrap_or(KNOWN_MAX.as_secs_f64()),
    );
}

/// The victim of a round: another one each time.
pub(super) fn choose(agents: &[Agent], fits: fn(&Agent) -> bool, round: u32) -> Option<Agent> {
    let fitting: Vec<_> = agents.iter().filter(|agent| fits(agent)).collect();
    let spread = fitting.len() / 3 + 1;
    let index = (round as usize * spread + fitting.len() / 2).checked_rem(fitting.len())?;
    Some(fitting[index].clone())
}

/// Kills an agent that the system under measurement has just named as one of its own.
pub(super) fn kill_agent(agent: &Agent) {
    let pid = i32::try_from(agent.pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// What a system spends, per agent.
#[derive(Debug, Clone, Default)]
struct Spent {
    packets_per_s: f64,
    bytes_per_s: f64,
    cpu_s_per_min: Vec<f64>,
    commands_s_per_min: Vec<f64>,
}

/// Counters at one moment.
#[derive(Debug)]
struct Snapshot {
    at: Instant,
    packets: u64,
    bytes: u64,
    /// Of each agent, its own and that of the commands that it ran.
    cpu_seconds: Vec<(f64, f64)>,
}

impl Snapshot {
    fn take(system: &dyn System, agents: &[Agent]) -> Self {
        let traffic = system.namespace().traffic();
        Self {
            at: now(),
            packets: traffic.packets,
            bytes: traffic.bytes,
            cpu_seconds: agents
                .iter()
                .map(|agent| usage::of(agent.pid))
                .map(|usage| (usage.cpu_seconds, usage.commands_cpu_seconds))
                .collect(),
        }
    }

    fn until(&self, end: &Self) -> Spent {
        let seconds = end.at.duration_since(self.at).as_secs_f64();
        let agents = self.cpu_seconds.len().max(1) as f64;
        let per_agent = |before: u64, after: u64| (after - before) as f64 / seconds / agents;
        let cpu = self.cpu_seconds.iter().zip(&end.cpu_seconds);
        let per_minute = |before: f64, after: f64| (after - before).max(0.0) * 60.0 / seconds;
        Spent {
            packets_per_s: per_agent(self.packets, end.packets),
            bytes_per_s: per_agent(self.bytes, end.bytes),
            cpu_s_per_min: (cpu.clone())
                .map(|(before, after)| per_minute(before.0, after.0))
                .collect(),
            commands_s_per_min: cpu
                .map(|(before, after)| per_minute(before.1, after.1))
                .collect(),
        }
    }
}

fn observe(system: &dyn System, agents: &[Agent], window: Duration) -> Spent {
    let start = Snapshot::take(system, agents);
    pause(window);
    start.until(&Snapshot::take(system, agents))
}
