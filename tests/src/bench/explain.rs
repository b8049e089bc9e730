//! How fast a decision is explained by those who are left when most of those who took it are not.

use super::figures::Figures;
use super::scenarios::{choose, kill_agent};
use super::{Agent, System};
use crate::wait::now;

/// So many survivors are asked in a round, one after the other.
const ASKED_MAX: usize = 10;

/// Has a machine replaced, kills the leader that decided it with half of the coordinators or more, and asks survivors at once.
///
/// A survivor holds the decision because it has a copy of the state, so nobody needs to be found who knows it: a figure near the
/// target would mean that somebody was waited for.
pub(super) fn explain(system: &mut dyn System, figures: &mut Figures, round: u32) {
    let agents = system.agents();
    let Some(replaced) = choose(&agents, |agent| !agent.is_coordinator, round) else {
        return;
    };
    let killed = now();
    kill_agent(&replaced);
    system.restore(&replaced, killed);

    let agents = system.agents();
    let (dead, survivors) = deciders(&agents);
    let killed = now();
    dead.iter().for_each(|agent| kill_agent(agent));
    let asked = survivors.into_iter().take(ASKED_MAX);
    let slowest = asked
        .filter_map(|agent| system.explain(agent, &replaced))
        .max();
    if let Some(slowest) = slowest {
        figures.add("explain_s", slowest.as_secs_f64());
    }
    for agent in dead {
        system.restore(agent, killed);
    }
}

/// The leader with half of the coordinators, itself one of them, or one more where their number is odd; and all others.
fn deciders(agents: &[Agent]) -> (Vec<&Agent>, Vec<&Agent>) {
    let coordinators = agents.iter().filter(|agent| agent.is_coordinator).count();
    let mut left = coordinators.div_ceil(2);
    let mut order: Vec<&Agent> = agents.iter().collect();
    order.sort_by_key(|agent| !agent.is_leader);
    order.into_iter().partition(|agent| {
        let dies = agent.is_coordinator && left > 0;
        left -= usize::from(dies);
        dies
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_dies_with_half_of_the_coordinators() {
        let agent = |name: &str, seat: bool, leads: bool| Agent {
            key: name.to_owned(),
            name: name.to_owned(),
            ip: String::new(),
            pid: 0,
            is_coordinator: seat,
            is_leader: leads,
            log: "agent.log".into(),
            node: String::new(),
        };
        let agents = [
            agent("a", false, false),
            agent("b", true, false),
            agent("c", true, false),
            agent("d", true, true),
        ];
        let (dead, survivors) = deciders(&agents);
        let names = |agents: Vec<&Agent>| {
            let names = agents.into_iter().map(|agent| agent.name.clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(dead), ["d", "b"]);
        assert_eq!(names(survivors), ["a", "c"]);
        assert_eq!(deciders(&agents[..1]).0, Vec::<&Agent>::new());
    }
}
