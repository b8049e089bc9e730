use std::collections::BTreeMap;

use super::*;
use crate::health::{Finding, Level, Readings, Report, Subject};

#[test]
fn the_text_is_what_prometheus_reads() {
    let mut out = Exposition::default();
    out.counter("packets_total", "Packets\nso far.", 3);
    let mut family = out.family("muster_holds", "Holds.", Kind::Gauge);
    family.value(&[("rule", "a \"quorum\"\\\n"), ("group", "web")], 1.5);
    assert_eq!(
        out.text,
        "# HELP packets_total Packets\\nso far.\n# TYPE packets_total counter\npackets_total 3\n\
         # HELP muster_holds Holds.\n# TYPE muster_holds gauge\n\
         muster_holds{rule=\"a \\\"quorum\\\"\\\\\\n\",group=\"web\"} 1.5\n"
    );
}

/// Reads the text back as Prometheus would and fails on what it would refuse.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::new();
    let mut family = String::new();
    let mut families = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().expect("a name").to_owned();
            assert!(families.insert(family.clone()), "{family} is there twice");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            assert_eq!(
                series.split('{').next(),
                Some(family.as_str()),
                "in its family"
            );
            let value = value.parse().expect("a number");
            assert_eq!(
                figures.insert(series.to_owned(), value),
                None,
                "{series} is there twice"
            );
        }
    }
    figures
}

#[test]
fn all_parts_together_make_one_valid_text() {
    let build = Build {
        version: "1.2.3",
        machine: "web-1".into(),
        cluster: "beef".into(),
    };
    let group = GroupStats {
        desired: 3,
        running: 2,
        budget_left: 0.5,
        failed: true,
        not_healable: 2,
        paused: false,
    };
    let fleet = FleetStats {
        leading: true,
        members: BTreeMap::from([("alive", 4), ("down", 1)]),
        groups: BTreeMap::from([("web".to_owned(), group)]),
        holds: BTreeMap::from([("quorum".to_owned(), 2)]),
        decisions: BTreeMap::from([("act", 7)]),
        ..FleetStats::default()
    };
    let finding = Finding {
        subject: Subject::Disk,
        level: Level::Warning,
        value: Some(90.0),
        limit: Some(85.0),
    };
    let readings = Readings {
        disk_percent: Some(90),
        ..Readings::default()
    };
    let health = HealthStats(Report {
        findings: vec![finding],
        readings,
        ..Report::default()
    });
    let figures = parse(&render(&[&build, &fleet, &health, &ProcessStats::read()]));
    for (series, value) in [
        (
            "muster_build_info{version=\"1.2.3\",machine=\"web-1\",cluster=\"beef\"}",
            1.0,
        ),
        ("muster_leading", 1.0),
        ("muster_members{status=\"alive\"}", 4.0),
        ("muster_group_running{group=\"web\"}", 2.0),
        ("muster_group_budget_left{group=\"web\"}", 0.5),
        ("muster_group_not_healable{group=\"web\"}", 2.0),
        ("muster_holds{rule=\"quorum\"}", 2.0),
        ("muster_decisions{outcome=\"act\"}", 7.0),
        ("muster_health_level", 1.0),
        (
            "muster_health_findings{subject=\"disk\",level=\"warning\"}",
            1.0,
        ),
        ("muster_health_reading{reading=\"disk_used_percent\"}", 90.0),
    ] {
        assert_eq!(
            figures.get(series),
            Some(&value),
            "{series} in {figures:#?}"
        );
    }
    assert!(figures["process_resident_memory_bytes"] > 0.0);
}

/// The names of a plain struct's fields, as its debug text has them.
fn fields(debug: &str) -> Vec<&str> {
    let inner = debug
        .split_once('{')
        .expect("a struct")
        .1
        .trim_end_matches(['}', ' ']);
    inner
        .split(',')
        .map(|field| field.split(':').next().expect("a name").trim())
        .collect()
}

#[test]
fn every_figure_of_the_mesh_has_a_metric() {
    use muster_mesh::{membership, records, transport};
    fn check(stats: &(impl Export + fmt::Debug), prefix: &str) {
        let figures = parse(&render(&[stats]));
        let debug = format!("{stats:?}");
        let fields = fields(&debug);
        assert_eq!(figures.len(), fields.len(), "{figures:?}\n{fields:?}");
        for field in fields {
            let (gauge, counter) = (format!("{prefix}{field}"), format!("{prefix}{field}_total"));
            assert!(
                figures.contains_key(&gauge) || figures.contains_key(&counter),
                "{gauge}"
            );
        }
    }
    check(&transport::TransportStats::default(), "muster_transport_");
    check(&membership::Stats::default(), "muster_membership_");
    check(&records::Stats::default(), "muster_records_");
}
