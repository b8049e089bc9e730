//! Fleets that lose their coordinators: they go on by themselves where they may, and say so where they may not.

use super::*;

fn lost(report: &Report) -> usize {
    let groups = report.groups.iter();
    groups.map(|group| group.desired - group.running).sum()
}

/// Three of five machines are gone, and all coordinators with them: nothing is healed, and the report says so.
#[test]
fn a_fleet_that_nobody_can_lead_says_so() {
    let kill = fault(FaultKind::Kill, "coordinators@5m");
    let groups = vec![cattle("web", 3), pets("db", &["db-1", "db-2"])];
    let report = sound(&scenario(1, groups, 60, vec![kill]));
    assert_eq!((report.healed, lost(&report)), (0, 3));
    let holds = &report.holds["quorum"];
    assert!(holds.times >= 1, "{holds:?}");
    assert!(
        holds.example.starts_with("0 of 3 coordinators"),
        "{holds:?}"
    );
    let held: usize = report.groups.iter().map(|group| group.held).sum();
    assert_eq!(held, 3, "{:?}", report.groups);
    let why = report.nobody_leads.as_deref().unwrap_or_default();
    assert!(why.contains("muster recover"), "{why}");
    let told = |line: &&Line| line.what == "held by quorum: nobody leads";
    assert!(report.timeline.iter().any(|line| told(&line)));
}

/// Two of three coordinators are gone, and most of the roster is left: the third goes on within half a minute.
#[test]
fn a_coordinator_that_is_left_goes_on_with_most_of_the_roster() {
    for seed in 0..5 {
        let mut spec = cattle("web", 12);
        spec.heal.budget.at_once = Some(4);
        let kills = ["leader@5m", "web-2@5m"].map(|occasion| fault(FaultKind::Silence, occasion));
        let report = sound(&scenario(seed, vec![spec], 60, kills.to_vec()));
        let anew = report
            .timeline
            .iter()
            .find(|line| line.what == "founds the log anew");
        if let Some(line) = anew {
            assert!(line.at_ms <= 330_000, "seed {seed}: {line:?}");
        }
        assert_eq!(lost(&report), 0, "seed {seed}: {:#?}", report.timeline);
    }
}

/// All coordinators are cut off, and a former one is not: the others go on with it, and the old leader can do nothing.
#[test]
fn the_larger_side_of_a_cut_goes_on_with_a_former_coordinator() {
    for seed in 0..5 {
        let faults = vec![
            // It leads, gives its seat away, and keeps the key.
            fault(FaultKind::DiskFull, "web-1@1m+3m"),
            fault(FaultKind::Partition, "coordinators@20m+10m"),
            fault(FaultKind::Kill, "any:1@22m"),
        ];
        let report = sound(&scenario(seed, vec![cattle("web", 9)], 60, faults));
        let leads = |line: &&Line| line.what == "founds the log anew";
        let anew = report.timeline.iter().find(leads);
        let at_ms = anew.map(|line| line.at_ms);
        assert!(
            at_ms.is_some_and(|at_ms| (1_210_000..1_240_000).contains(&at_ms)),
            "seed {seed}: {:#?}",
            report.timeline
        );
        assert_eq!(lost(&report), 0, "seed {seed}: {:#?}", report.timeline);
    }
}

/// What a fleet has that a former coordinator is not part of: nobody has the CA's key.
#[test]
fn without_a_former_coordinator_nobody_goes_on() {
    let kill = fault(FaultKind::Silence, "coordinators@5m");
    let report = sound(&scenario(1, vec![cattle("web", 9)], 60, vec![kill]));
    assert_eq!(report.healed, 0);
    let why = report.nobody_leads.as_deref().unwrap_or_default();
    assert!(
        why.contains("only a machine that was a coordinator"),
        "{why}"
    );
}

/// One for two machines, three for up to fifty, five above, seven above two hundred over three zones.
#[test]
fn a_fleet_has_as_many_coordinators_as_the_real_one() {
    let seats = |size: u32, zones: &[&str]| {
        let mut spec = cattle("web", size);
        spec.placement.zones = zones.iter().map(|zone| (*zone).to_owned()).collect();
        let kill = fault(FaultKind::Cordon, "coordinators@1s");
        let report = sound(&scenario(1, vec![spec], 1, vec![kill]));
        report.course.befell[0].machines.len()
    };
    assert_eq!(seats(2, &[]), 1);
    assert_eq!(seats(3, &[]), 3);
    assert_eq!(seats(51, &[]), 5);
    assert_eq!(seats(201, &["a", "b", "c"]), 7);
    assert_eq!(seats(201, &["a", "b"]), 5);
}
