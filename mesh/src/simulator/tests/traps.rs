//! What each safeguard is good for: the same scenario with it, and without.

use super::*;
use crate::membership::Safeguards;

fn setup(seed: u64, machines: usize, safeguards: Safeguards) -> Setup {
    let mut setup = Setup::new(seed, machines);
    setup.membership.safeguards = safeguards;
    setup
}

/// foca 2.0.0 tells a member that it is down when its suspicion's time is up, also if it has refuted.
#[test]
fn a_refuted_suspicion_has_no_consequences() {
    let renewals = |stale_timer_filter| {
        let safeguards = Safeguards {
            stale_timer_filter,
            ..Safeguards::default()
        };
        let mut mesh = mesh_of(setup(1, 3, safeguards));
        mesh.run_for(10 * SECOND);
        mesh.network().loss_at.insert(2, 1.0);
        let suspected = mesh.run_until(20 * SECOND, |mesh| {
            mesh.status(0, 2) == Some(Status::Suspect)
        });
        assert!(suspected);
        mesh.heal();
        mesh.run_for(30 * SECOND);
        assert_eq!(mesh.findings().deaths, [], "it objected in time");
        assert!(sum(&mesh, |stats| stats.refutations) > 0);
        mesh.findings().renewals
    };
    assert_eq!(renewals(true), 0);
    assert!(
        renewals(false) > 0,
        "the trap is gone: is the filter still needed?"
    );
}

/// How many of 20 deaths some survivor has not heard of when gossip is over.
fn deaths_not_heard_of(safeguards: Safeguards, loss: f64) -> usize {
    let mut mesh = mesh_of(setup(1, 50, safeguards));
    mesh.network().loss = loss;
    mesh.run_for(20 * SECOND);
    let mut incomplete = 0;
    for victim in 0..20 {
        mesh.kill(victim);
        let known = |mesh: &Simulation| {
            mesh.running()
                .any(|node| mesh.status(node, victim) == Some(Status::Down))
        };
        assert!(mesh.run_until(20 * SECOND, known));
        // Gossip is over after a second; comparisons of hashes have not begun.
        mesh.run_for(SECOND);
        let knows = |node| mesh.status(node, victim) == Some(Status::Down);
        incomplete += usize::from(!mesh.running().all(knows));
        // Of the one knock after each comparison, a half gets lost with its answer.
        mesh.start(victim);
        // Of the one knock after each comparison, a half gets lost with its answer.
        settle(&mut mesh, 600 * SECOND);
        mesh.run_for(2 * SECOND);
    }
    incomplete
}

/// foca rounds the number of retransmissions down and takes no account of loss: news does not reach everybody.
#[test]
fn retransmissions_are_not_truncated() {
    let incomplete = |rounded_retransmits| {
        let safeguards = Safeguards {
            rounded_retransmits,
            ring_gossip: false,
            ..Safeguards::default()
        };
        deaths_not_heard_of(safeguards, 0.3)
    };
    let (with, without) = (incomplete(true), incomplete(false));
    assert!(with + 2 < without, "{with} of 20 deaths against {without}");
}

/// What chance leaves out, neighbours tell.
#[test]
fn news_of_a_death_reaches_everybody_by_gossip_alone() {
    assert_eq!(deaths_not_heard_of(Safeguards::default(), 0.0), 0);
}

/// Members that lose most of their packets must not judge others by it (Lifeguard).
#[test]
fn machines_with_a_bad_network_do_not_bury_the_others() {
    let buried = |local_health| {
        let safeguards = Safeguards {
            local_health,
            ..Safeguards::default()
        };
        let mut mesh = mesh_of(setup(1, 24, safeguards));
        for node in 0..3 {
            mesh.network().loss_at.insert(node, 0.9);
            mesh.excuse(node, true);
        }
        mesh.run_for(90 * SECOND);
        let wrong = mesh.findings().wrong_deaths();
        let mut lives: Vec<_> = wrong
            .map(|death| (death.machine, death.generation))
            .collect();
        lives.sort_unstable();
        lives.dedup();
        lives.len()
    };
    let (with, without) = (buried(true), buried(false));
    assert_eq!(with, 0);
    assert!(without >= 10, "{without} without local health");
}

/// A member that slept through a death, and through its being forgotten, still believes the dead to be alive.
#[test]
fn a_sleeper_does_not_resurrect_the_forgotten() {
    let resurrections = |verified_imports| {
        let one = |seed| {
            let safeguards = Safeguards {
                verified_imports,
                ..Safeguards::default()
            };
            let mut setup = setup(seed, 10, safeguards);
            setup.membership.remember_dead = 30 * SECOND;
            let mut mesh = mesh_of(setup);
            mesh.run_for(10 * SECOND);
            mesh.pause(9);
            mesh.power_off(4);
            mesh.run_for(120 * SECOND);
            assert!(
                (0..9).all(|node| mesh.status(node, 4).is_none()),
                "forgotten"
            );
            mesh.resume(9);
            mesh.run_for(60 * SECOND);
            let dead = mesh.machine(4);
            let risen = |violation: &&Violation| matches!(violation, Violation::Resurrected { machine, .. } if *machine == dead);
            mesh.findings().violations.iter().filter(risen).count()
        };
        (0..8).map(one).sum::<usize>()
    };
    assert_eq!(resurrections(true), 0);
    assert!(resurrections(false) > 0);
}

/// A process that stood still has not heard the answers that wait in its socket.
#[test]
fn a_machine_that_stood_still_blames_nobody() {
    let wrong_suspicions = |late_wake| {
        let safeguards = Safeguards {
            late_wake,
            ..Safeguards::default()
        };
        let mut setup = setup(1, 10, safeguards);
        setup.network.latency = Some((Duration::from_millis(20), Duration::from_millis(40)));
        let mut mesh = mesh_of(setup);
        for round in 0..20 {
            let node = round % 10;
            let probes = |mesh: &Simulation| mesh.membership(node).map(|core| core.stats().probes);
            let before = probes(&mesh);
            // In the middle of a probe, and for too short a time to be taken for dead.
            assert!(mesh.run_until(10 * SECOND, |mesh| probes(mesh) != before));
            mesh.pause(node);
            mesh.run_for(Duration::from_millis(1500));
            mesh.resume(node);
            mesh.run_for(5 * SECOND);
        }
        mesh.findings().wrong_suspicions
    };
    let (with, without) = (wrong_suspicions(true), wrong_suspicions(false));
    assert_eq!(with, 0);
    assert!(without > 20, "{without} wrong suspicions without");
}

/// One ping and one round of requests are not enough where a quarter of all packets is lost.
#[test]
fn a_second_path_and_repeated_pings_keep_a_lossy_mesh_calm() {
    let wrong = |second_path| {
        let safeguards = Safeguards {
            second_path,
            ..Safeguards::default()
        };
        let mut mesh = mesh_of(setup(1, 30, safeguards));
        mesh.network().loss = 0.25;
        mesh.run_for(180 * SECOND);
        (
            mesh.findings().wrong_suspicions,
            mesh.findings().wrong_deaths().count(),
        )
    };
    let (with, without) = (wrong(true), wrong(false));
    assert_eq!(with.1, 0);
    assert!(
        with.0 * 10 < without.0,
        "{with:?} wrong suspicions and deaths against {without:?}"
    );
}
