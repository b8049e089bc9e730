//! One kind of fault at a time.

use super::*;

#[test]
fn a_lossy_network_declares_nobody_dead() {
    for (seed, loss) in [(1, 0.10), (2, 0.10), (3, 0.25), (4, 0.25)] {
        let mut mesh = mesh(seed, 50);
        mesh.network().loss = loss;
        mesh.run_for(120 * SECOND);
        assert_eq!(mesh.findings().deaths, [], "seed {seed}");
    }
}

#[test]
fn two_halves_find_together_without_burying_their_own() {
    for seed in 0..5 {
        let mut mesh = mesh(seed, 20);
        let island: Vec<usize> = (0..20).filter(|node| node % 2 == 0).collect();
        mesh.partition(&island);
        mesh.run_for(60 * SECOND);
        for observer in 0..20 {
            for subject in (0..20).filter(|subject| *subject != observer) {
                let together = observer % 2 == subject % 2;
                let active = mesh
                    .status(observer, subject)
                    .is_some_and(Status::is_active);
                assert_eq!(active, together, "seed {seed}: {observer} of {subject}");
            }
        }
        let buried = mesh.findings().deaths.len();
        mesh.heal();
        settle(&mut mesh, 60 * SECOND);
        let later = &mesh.findings().deaths[buried..];
        assert_eq!(
            later,
            [],
            "seed {seed}: a side took its own for dead when it met the other"
        );
    }
}

#[test]
fn a_machine_that_hears_nothing_is_taken_for_dead_and_comes_back() {
    let mut mesh = mesh(1, 10);
    for other in 0..9 {
        mesh.network().loss_between.insert((other, 9), 1.0);
    }
    mesh.excuse(9, true);
    let known = mesh.run_until(60 * SECOND, |mesh| {
        (0..9).all(|node| mesh.status(node, 9) == Some(Status::Down))
    });
    assert!(known);
    assert_eq!(mesh.findings().wrong_deaths().count(), 0);
    mesh.heal();
    settle(&mut mesh, 120 * SECOND);
}

#[test]
fn a_bad_link_between_two_is_no_death() {
    let mut mesh = mesh(1, 10);
    mesh.network().loss_between.insert((3, 4), 1.0);
    mesh.network().loss_between.insert((4, 3), 1.0);
    mesh.run_for(300 * SECOND);
    assert_eq!(mesh.findings().deaths, []);
}

#[test]
fn a_paused_machine_is_taken_for_dead_and_comes_back() {
    let mut mesh = mesh(1, 10);
    mesh.pause(5);
    mesh.run_for(20 * SECOND);
    assert!(
        mesh.running()
            .all(|node| mesh.status(node, 5) == Some(Status::Down))
    );
    mesh.resume(5);
    settle(&mut mesh, 20 * SECOND);
    assert_eq!(mesh.findings().wrong_deaths().count(), 0);
}

#[test]
fn a_departure_is_not_a_failure() {
    let mut mesh = mesh(1, 20);
    mesh.leave(7);
    settle(&mut mesh, 10 * SECOND);
    let left = |node| mesh.status(node, 7) == Some(Status::Left);
    assert!(mesh.running().all(left));
    assert!(
        mesh.findings()
            .deaths
            .iter()
            .all(|death| death.how.is_none())
    );
}

#[test]
fn a_fleet_that_was_off_comes_back_whole() {
    let mut mesh = mesh(1, 20);
    for node in 0..20 {
        mesh.kill(node);
    }
    mesh.run_for(60 * SECOND);
    mesh.start_all();
    settle(&mut mesh, 30 * SECOND);
}

#[test]
fn duplicated_and_reordered_datagrams_do_no_harm() {
    let mut setup = Setup::new(1, 10);
    setup.network.latency = Some((Duration::from_millis(1), Duration::from_millis(80)));
    setup.network.duplication = 0.5;
    let mut mesh = mesh_of(setup);
    mesh.run_for(120 * SECOND);
    assert_eq!(mesh.findings().deaths, []);
    mesh.kill(3);
    assert!(detection(&mut mesh, 3).last() < Some(&(5 * SECOND)));
}

#[test]
fn a_wide_area_network_is_no_reason_to_suspect() {
    let mut setup = Setup::new(1, 10);
    setup.network.latency = Some((Duration::from_millis(90), Duration::from_millis(140)));
    let mut mesh = mesh_of(setup);
    mesh.run_for(300 * SECOND);
    assert_eq!(mesh.findings().wrong_suspicions, 0);
    mesh.power_off(3);
    assert!(detection(&mut mesh, 3).last() < Some(&(9 * SECOND)));
}

#[test]
fn starved_machines_do_not_bury_each_other() {
    let mut mesh = mesh(1, 30);
    // A fifth of all machines at a time gets no processor for most of a second.
    for round in 0..120 {
        let starved: Vec<usize> = (0..30).filter(|node| (node * 7 + round) % 5 == 0).collect();
        starved.iter().for_each(|node| mesh.pause(*node));
        mesh.run_for(Duration::from_millis(800));
        starved.iter().for_each(|node| mesh.resume(*node));
        mesh.run_for(Duration::from_millis(200));
    }
    assert_eq!(mesh.findings().deaths, []);
    settle(&mut mesh, 20 * SECOND);
}

#[test]
fn an_outage_of_the_whole_network_buries_nobody() {
    for seconds in [1, 3, 8] {
        let mut mesh = mesh(seconds, 20);
        mesh.network().loss = 1.0;
        mesh.run_for(SECOND * seconds as u32);
        mesh.network().loss = 0.0;
        settle(&mut mesh, 30 * SECOND);
        assert_eq!(mesh.findings().deaths, [], "{seconds} s");
    }
}

#[test]
fn a_machine_that_was_alone_does_not_come_back_with_its_verdicts() {
    let mut mesh = mesh(1, 10);
    mesh.partition(&[4]);
    mesh.run_for(900 * SECOND);
    assert_eq!(
        mesh.membership(4).map(Membership::active_count),
        Some(0),
        "it buried everybody"
    );
    // Asleep when the network is mended, so that the first that the others hear of it is what it had to say then.
    mesh.pause(4);
    mesh.heal();
    mesh.run_for(30 * SECOND);
    let buried = mesh.findings().deaths.len();
    mesh.resume(4);
    settle(&mut mesh, 60 * SECOND);
    assert_eq!(mesh.findings().deaths[buried..], []);
}

#[test]
fn cuts_overlap_and_are_mended_one_by_one() {
    let mut mesh = mesh(1, 9);
    mesh.cut(1, &[0, 1, 2]);
    mesh.cut(2, &[2, 3]);
    assert!(mesh.connected(0, 1) && mesh.connected(4, 5));
    assert!(!mesh.connected(0, 2) && !mesh.connected(2, 3) && !mesh.connected(3, 4));
    assert_eq!(mesh.calm_since(), None);
    mesh.mend(1);
    assert!(mesh.connected(0, 4) && mesh.connected(2, 3) && !mesh.connected(2, 4));
    mesh.mend(2);
    settle(&mut mesh, 60 * SECOND);
    assert_eq!(mesh.findings().wrong_deaths().count(), 0);
}
