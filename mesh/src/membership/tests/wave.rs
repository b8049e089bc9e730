//! The probes of a ring follow each other, so that a ping that wakes a member is a moment for its own.

use super::*;

/// When each member probed last.
fn probed(members: &[Membership]) -> Vec<Duration> {
    members
        .iter()
        .map(|member| member.rounds.probed_at)
        .collect()
}

#[test]
fn probes_go_round_the_ring_as_one_wave() {
    let (mut now, mut members) = mesh(10);
    run(&mut now, 60 * SECOND, &mut members);
    let waves_before = probed(&members);
    let probes_before: Vec<u64> = members.iter().map(|member| member.stats().probes).collect();
    run(&mut now, 180 * SECOND, &mut members);
    for times in [waves_before, probed(&members)] {
        assert!(times.iter().all(|at| *at == times[0]), "{times:?}");
    }
    // One of the successor each 1.2 to 1.32 s, and every fourth time one of somebody else.
    for (member, before) in members.iter().zip(probes_before) {
        let probes = member.stats().probes - before;
        assert!((110..=126).contains(&probes), "{probes} in two minutes");
    }
}

#[test]
fn a_wave_survives_the_death_of_each_of_its_members() {
    let (mut now, mut members) = mesh(10);
    while members.len() > 3 {
        let until = now + 60 * SECOND;
        run(&mut now, until, &mut members);
        let times = probed(&members);
        assert!(times.iter().all(|at| *at == times[0]), "{times:?}");
        members.swap_remove(0);
    }
}

#[test]
fn two_members_do_not_ping_each_other_for_ever() {
    let (mut now, mut members) = mesh(2);
    run(&mut now, 121 * SECOND, &mut members);
    for member in &members {
        assert!(member.stats().probes <= 110, "{}", member.stats().probes);
    }
}

#[test]
fn a_member_in_ill_health_keeps_its_own_slower_time() {
    let (mut now, mut members) = mesh(10);
    run(&mut now, 60 * SECOND, &mut members);
    let before = members[0].stats().probes;
    for _ in 0..60 {
        // Good answers make it well again, so it has to be made ill all the time.
        while members[0].health.stretch() < 2 {
            members[0].health.worse();
        }
        let until = now + SECOND;
        run(&mut now, until, &mut members);
    }
    let probes = members[0].stats().probes - before;
    assert!(probes <= 45, "{probes} in a minute");
}
