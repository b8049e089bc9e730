//! How fast things are known. `docs/timing.md` has the distributions; these are the limits.

use super::*;

#[test]
fn a_mesh_forms_within_seconds() {
    for machines in [1, 2, 3, 5, 20, 50] {
        let simulation = mesh(1, machines);
        assert!(
            simulation.now() < 9 * SECOND,
            "{machines} machines took {:?}",
            simulation.now()
        );
    }
}

#[test]
fn an_acquainted_mesh_agrees_at_once_and_notices_like_any_other() {
    let mut mesh = Simulation::new(Setup::new(1, 20));
    mesh.start_acquainted();
    assert_eq!(mesh.disagreement(), None);
    mesh.run_for(30 * SECOND);
    assert_eq!(mesh.findings().deaths, []);
    let calm = mesh.calm_since().expect("no fault is in place");
    assert!(mesh.now() - calm > 5 * SECOND, "{calm:?}");
    mesh.kill(7);
    assert_eq!(mesh.calm_since(), Some(mesh.now()));
    let changes = mesh.changes(3);
    let times = detection(&mut mesh, 7);
    assert!(times.last() < Some(&(3 * SECOND)), "{times:?}");
    assert!(mesh.changes(3) > changes);
    let number = mesh.add(MachineId::new(4711).expect("not zero"));
    mesh.start(number);
    settle(&mut mesh, 5 * SECOND);
}

#[test]
fn a_killed_process_is_known_to_all_within_three_seconds() {
    for seed in 0..5 {
        for machines in [2, 3, 10, 50] {
            let mut mesh = mesh(seed, machines);
            mesh.run_for(10 * SECOND);
            mesh.kill(machines - 1);
            let times = detection(&mut mesh, machines - 1);
            assert!(
                times.last() < Some(&(3 * SECOND)),
                "seed {seed}, {machines}: {times:?}"
            );
        }
    }
}

#[test]
fn a_silent_death_is_known_to_all_within_six_seconds() {
    for seed in 0..5 {
        for machines in [2, 3, 10, 50] {
            let mut mesh = mesh(seed, machines);
            mesh.run_for(10 * SECOND);
            mesh.power_off(machines - 1);
            let times = detection(&mut mesh, machines - 1);
            assert!(
                times.last() < Some(&(6 * SECOND)),
                "seed {seed}, {machines}: {times:?}"
            );
        }
    }
}

#[test]
fn a_death_that_a_connection_reports_is_known_in_half_a_second() {
    let mut mesh = mesh(1, 10);
    mesh.run_for(10 * SECOND);
    mesh.kill(9);
    let (now, machine) = (mesh.now(), mesh.machine(9));
    mesh.nodes[4]
        .life
        .as_mut()
        .expect("runs")
        .membership
        .handle_unreachable_hint(now, machine);
    mesh.settle(4);
    let times = detection(&mut mesh, 9);
    assert!(times.last() < Some(&(SECOND / 2)), "{times:?}");
}

#[test]
fn a_quick_restart_is_seen_as_a_new_life_and_not_as_a_death() {
    let mut mesh = mesh(1, 10);
    for node in 0..10 {
        mesh.kill(node);
        mesh.start(node);
        settle(&mut mesh, 5 * SECOND);
    }
    assert_eq!(mesh.findings().deaths, []);
}

#[test]
fn three_of_five_at_once_are_known_to_the_others() {
    for silent in [false, true] {
        let mut mesh = mesh(1, 5);
        for node in 2..5 {
            if silent {
                mesh.power_off(node)
            } else {
                mesh.kill(node)
            }
        }
        settle(&mut mesh, if silent { 25 * SECOND } else { 6 * SECOND });
        assert_eq!(mesh.findings().wrong_deaths().count(), 0);
    }
}

#[test]
fn half_of_128_at_once_are_known_to_the_others() {
    let mut mesh = mesh(1, 128);
    for node in (0..128).step_by(2) {
        mesh.power_off(node);
    }
    settle(&mut mesh, 60 * SECOND);
    assert_eq!(mesh.findings().wrong_deaths().count(), 0);
}

#[test]
fn news_of_a_machine_reaches_all_in_three_seconds() {
    let mut mesh = mesh(1, 50);
    mesh.run_for(10 * SECOND);
    let vitals = Vitals {
        level: 2,
        ..Vitals::default()
    };
    let machine = mesh.machine(7);
    mesh.set_vitals(7, vitals);
    let known = mesh.run_until(3 * SECOND, |mesh| {
        let mut records = mesh
            .running()
            .filter_map(|node| mesh.records(node)?.get(machine));
        records.all(|record| record.vitals == Some(vitals))
    });
    assert!(known);
}

#[test]
fn a_busy_mesh_stays_below_its_budget() {
    let mut mesh = mesh(1, 50);
    mesh.run_for(10 * SECOND);
    let before: Vec<Traffic> = (0..50).map(|node| mesh.traffic(node)).collect();
    for round in 0..10_u8 {
        for node in 0..50 {
            mesh.set_vitals(
                node,
                Vitals {
                    level: round,
                    figures: [Some(40); 8],
                    ..Vitals::default()
                },
            );
            mesh.run_for(SECOND / 10);
        }
    }
    for (node, before) in before.into_iter().enumerate() {
        let spent = mesh.traffic(node).since(before);
        assert!(spent.wire_bytes() / 50 < 2000, "{spent:?}");
        assert!(spent.datagrams / 50 < 8, "{spent:?}");
    }
}

#[test]
fn a_wave_that_takes_long_round_the_ring_is_no_reason_to_probe_more_often() {
    for way in [2, 6, 10, 14, 18, 25, 40] {
        let mut setup = Setup::new(1, 50);
        let way = Duration::from_millis(way);
        setup.network.latency = Some((way, way.mul_f64(1.2)));
        let mut mesh = mesh_of(setup);
        mesh.run_for(60 * SECOND);
        let probes = |mesh: &Simulation| -> u64 {
            let lives = mesh.nodes.iter().filter_map(|node| node.life.as_ref());
            lives.map(|life| life.membership.stats().probes).sum()
        };
        let before = probes(&mesh);
        mesh.run_for(120 * SECOND);
        let probes = (probes(&mesh) - before) / 50;
        // 1.25 in 1.08 s, nine tenths of the period, are 138.
        assert!(
            (90..=140).contains(&probes),
            "{way:?} a hop: {probes} probes each in two minutes"
        );
    }
}
