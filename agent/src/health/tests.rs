use std::fs;
use std::path::Path;
use std::time::Duration;

use muster_mesh::records::{FIGURES, Vitals};
use proptest::prelude::*;

use super::*;
use crate::config::{HealthConfig, Percent, Threshold};

/// A sample with nothing but used memory: 90 % warns and 97 % is critical by default, 85.5 % is good again.
fn memory(percent: f64) -> Sample {
    Sample {
        memory_used_percent: Some(percent),
        ..Sample::default()
    }
}

fn levels(judge: &mut Judge, samples: &[f64]) -> Vec<Level> {
    samples
        .iter()
        .map(|percent| judge.handle_sample(&memory(*percent)).level())
        .collect()
}

fn judge() -> Judge {
    Judge::new(&HealthConfig::default())
}

#[test]
fn one_peak_is_no_warning_and_two_are() {
    use Level::{Ok, Warning};
    assert_eq!(levels(&mut judge(), &[95.0, 50.0, 95.0, 50.0]), [Ok; 4]);
    assert_eq!(levels(&mut judge(), &[95.0, 95.0]), [Ok, Warning]);
}

#[test]
fn a_value_that_dances_on_its_threshold_changes_nothing() {
    let mut judge = judge();
    levels(&mut judge, &[91.0, 91.0]);
    assert_eq!(
        levels(&mut judge, &[89.0, 91.0, 86.0, 89.9, 86.0, 86.0, 86.0]),
        [Level::Warning; 7]
    );
}

#[test]
fn it_clears_after_three_samples_below_the_margin() {
    use Level::{Ok, Warning};
    let mut judge = judge();
    levels(&mut judge, &[91.0, 91.0]);
    assert_eq!(
        levels(&mut judge, &[85.0, 85.0, 91.0]),
        [Warning; 3],
        "a bad one starts it anew"
    );
    assert_eq!(
        levels(&mut judge, &[85.0, 85.0, 85.0]),
        [Warning, Warning, Ok]
    );
}

#[test]
fn critical_steps_down_to_the_worst_of_the_good_samples() {
    use Level::{Critical, Warning};
    let mut judge = judge();
    assert_eq!(levels(&mut judge, &[99.0, 98.0]), [Level::Ok, Critical]);
    assert_eq!(
        levels(&mut judge, &[50.0, 91.0, 50.0]),
        [Critical, Critical, Warning]
    );
}

#[test]
fn a_raise_goes_no_higher_than_the_mildest_of_its_samples() {
    assert_eq!(
        levels(&mut judge(), &[99.0, 91.0]),
        [Level::Ok, Level::Warning]
    );
}

#[test]
fn a_figure_that_cannot_be_had_changes_no_verdict() {
    let mut judge = judge();
    levels(&mut judge, &[91.0, 91.0]);
    for _ in 0..10 {
        assert_eq!(
            judge.handle_sample(&Sample::default()).level(),
            Level::Warning
        );
    }
    assert_eq!(levels(&mut judge, &[f64::NAN]), [Level::Warning]);
}

#[test]
fn facts_count_at_once_and_clear_at_once() {
    let mut judge = judge();
    let detail = format!("{}\nsecond line", "é".repeat(100));
    let bad = Sample {
        read_only: Some(true),
        data_dir_lost: Some(true),
        workload: Workload::Failed { detail },
        ..Sample::default()
    };
    let report = judge.handle_sample(&bad);
    assert_eq!(report.level(), Level::Critical);
    assert_eq!(report.findings.len(), 3);
    let detail = report.workload_detail.as_ref().expect("it failed");
    assert_eq!(
        detail.len(),
        WORKLOAD_DETAIL_BYTES_MAX,
        "cut at a character"
    );
    let reasons = report.reasons();
    assert!(
        reasons.contains(&format!("the workload's health command failed: {detail}")),
        "{reasons:?}"
    );
    let good = Sample {
        read_only: Some(false),
        data_dir_lost: Some(false),
        workload: Workload::Healthy { part: None },
        ..Sample::default()
    };
    assert_eq!(judge.handle_sample(&good), Report::default());
}

#[test]
fn a_clock_behind_is_as_bad_as_one_ahead() {
    let mut judge = judge();
    let behind = Sample {
        clock_offset_ms: Some(-6000),
        ..Sample::default()
    };
    judge.handle_sample(&behind);
    let report = judge.handle_sample(&behind);
    assert_eq!(
        report.reasons(),
        ["clock behind its peers' by 6000 ms (critical from 5000 ms)"]
    );
    assert_eq!(report.readings.clock_offset_ms, Some(-6000));
}

#[test]
fn sentences_carry_value_level_and_threshold() {
    let mut judge = judge();
    let bad = Sample {
        cpu_busy_percent: Some(99.6),
        load_per_cpu: Some(7.25),
        memory_used_percent: Some(98.0),
        inodes_used_percent: Some(90.0),
        memory_pressure_percent: Some(12.0),
        ..Sample::default()
    };
    judge.handle_sample(&bad);
    assert_eq!(
        judge.handle_sample(&bad).reasons(),
        [
            "memory used 98 % (critical from 97 %)",
            "processors busy 100 % (warning from 95 %)",
            "load per processor 7.2 (warning from 4)",
            "inodes of the data directory's disk used 90 % (warning from 85 %)",
            "everything waiting for memory 12 % (warning from 10 %)",
        ]
    );
}

#[test]
fn thresholds_that_are_off_never_warn_and_new_ones_apply_at_once() {
    let mut config = HealthConfig {
        memory_warning_percent: Threshold::OFF,
        memory_critical_percent: Threshold::OFF,
        ..HealthConfig::default()
    };
    let mut judge = Judge::new(&config);
    assert_eq!(levels(&mut judge, &[100.0; 5]), [Level::Ok; 5]);
    config.memory_warning_percent = Threshold::at(Percent::new(50.0).expect("in range"));
    config.raise_after = 1;
    judge.set_config(&config);
    assert_eq!(levels(&mut judge, &[60.0]), [Level::Warning]);
}

#[test]
fn what_peers_are_told_is_what_is_the_case() {
    let mut judge = judge();
    let sample = Sample {
        cpu_busy_percent: Some(3.0),
        load_per_cpu: Some(0.25),
        memory_used_percent: Some(98.0),
        disk_used_percent: Some(90.0),
        io_pressure_percent: Some(1.0),
        clock_offset_ms: Some(-3),
        workload: Workload::Failed {
            detail: "no answer".into(),
        },
        ..Sample::default()
    };
    judge.handle_sample(&sample);
    let here = judge.handle_sample(&sample);
    let vitals = Vitals::from(&here);
    assert_eq!(vitals.level, 2);
    let there = Report::from(&vitals);
    assert!(
        there.findings.len() == 3 && there.level() == Level::Critical,
        "{there:?}"
    );
    assert_eq!(there.readings, here.readings);
    assert_eq!(
        there.reasons(),
        [
            "memory used 98 % (critical)",
            "the workload's health command failed",
            "disk of the data directory used 90 % (warning)",
        ]
    );
    assert_eq!(Vitals::from(&there), vitals, "nothing is lost on the way");
}

#[test]
fn reports_of_newer_and_broken_peers_are_read_as_far_as_possible() {
    let strange = Vitals {
        level: 200,
        reasons: u64::MAX,
        figures: [Some(i32::MIN); FIGURES],
    };
    let report = Report::from(&strange);
    assert_eq!(report.level(), Level::Critical);
    assert_eq!(report.findings.len(), Subject::ALL.len());
    assert_eq!(report.readings.cpu_percent, None);
    assert!(report.reasons().iter().all(|reason| !reason.is_empty()));
}

#[test]
fn only_news_is_published() {
    let mut publisher = Publisher::new(&HealthConfig::default());
    let report = |cpu, level: Option<Level>| {
        let finding = |level| Finding {
            subject: Subject::Cpu,
            level,
            value: Some(f64::from(cpu)),
            limit: None,
        };
        let readings = Readings {
            cpu_percent: Some(cpu),
            ..Readings::default()
        };
        Report {
            findings: level.map(finding).into_iter().collect(),
            readings,
            ..Report::default()
        }
    };
    let seconds = Duration::from_secs;
    assert!(
        publisher.handle_report(seconds(0), &report(10, None)),
        "the first"
    );
    assert!(
        !publisher.handle_report(seconds(100), &report(19, None)),
        "a small step"
    );
    assert!(
        publisher.handle_report(seconds(105), &report(20, None)),
        "the drift adds up"
    );
    assert!(
        !publisher.handle_report(seconds(110), &report(60, None)),
        "figures must rest for a minute"
    );
    assert!(
        publisher.handle_report(seconds(111), &report(60, Some(Level::Warning))),
        "a finding"
    );
    assert!(
        !publisher.handle_report(seconds(112), &report(61, Some(Level::Warning))),
        "the same"
    );
    assert!(
        publisher.handle_report(seconds(113), &report(61, Some(Level::Critical))),
        "worse"
    );
    assert!(
        publisher.handle_report(seconds(114), &report(61, None)),
        "gone"
    );
    assert_eq!(publisher.published(), Some(&report(61, None)));
}

/// Writes a `/proc` as a kernel of six processors would.
fn fake_proc(root: &Path, idle: u64, busy: u64) {
    fs::create_dir_all(root.join("pressure")).expect("made");
    fs::create_dir_all(root.join("sys/kernel/random")).expect("made");
    let write = |name: &str, text: &str| fs::write(root.join(name), text).expect("written");
    let cpus: String = (0..6)
        .map(|cpu| format!("cpu{cpu} 1 2 3 4 5 6 7 8 0 0\n"))
        .collect();
    write(
        "stat",
        &format!("cpu  {busy} 0 0 {idle} 0 0 0 0 77 0\n{cpus}intr 1 2 3\n"),
    );
    write("loadavg", "12.60 0.37 0.29 1/94 22134\n");
    write(
        "meminfo",
        "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    250 kB\nCached: 9 kB\n",
    );
    let pressure = "some avg10=9.00 avg60=1.50 avg300=9.00 total=1\n\
                    full avg10=9.00 avg60=0.25 avg300=9.00 total=1\n";
    for name in ["pressure/cpu", "pressure/memory", "pressure/io"] {
        write(name, pressure);
    }
    write(
        "sys/kernel/random/boot_id",
        "a1658bea-3c4b-4fc6-96b8-45a08f0f0a5a\n",
    );
    write("uptime", "1764.72 2896.09\n");
}

#[test]
fn the_sampler_reads_what_the_kernel_says() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fake_proc(dir.path(), 1000, 1000);
    let mut sampler = Sampler::with_proc(dir.path(), dir.path());
    let first = sampler.sample();
    assert_eq!(first.cpu_busy_percent, None, "nothing to compare with");
    assert_eq!(first.load_per_cpu, Some(12.6 / 6.0));
    assert_eq!(first.memory_used_percent, Some(75.0));
    assert_eq!(first.cpu_pressure_percent, Some(1.5));
    assert_eq!(first.memory_pressure_percent, Some(0.25));
    assert_eq!(first.io_pressure_percent, Some(0.25));
    assert_eq!(first.read_only, Some(false));
    assert!(
        first
            .disk_used_percent
            .is_some_and(|used| (0.0..=100.0).contains(&used))
    );
    assert_eq!(
        sampler.boot(),
        Some(Boot {
            id: 0xa1658bea_3c4b_4fc6_96b8_45a08f0f0a5a,
            uptime_ms: 1_764_720
        })
    );
    fake_proc(dir.path(), 1025, 1075);
    assert_eq!(
        sampler.sample().cpu_busy_percent,
        Some(75.0),
        "files are read afresh"
    );
    assert_eq!(
        sampler.sample().cpu_busy_percent,
        None,
        "no tick has passed"
    );
}

#[test]
fn a_kernel_without_figures_leaves_them_out() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut sampler = Sampler::with_proc(&dir.path().join("none"), &dir.path().join("gone"));
    let expected = Sample {
        data_dir_lost: Some(true),
        ..Sample::default()
    };
    assert_eq!(sampler.sample(), expected);
    assert_eq!(sampler.boot(), None);
}

#[test]
#[cfg(target_os = "linux")]
fn this_machine_gives_its_figures() {
    let mut sampler = Sampler::new(Path::new("/"));
    let sample = sampler.sample();
    assert!(
        sample
            .memory_used_percent
            .is_some_and(|used| used > 0.0 && used < 100.0),
        "{sample:?}"
    );
    assert!(sample.load_per_cpu.is_some());
    assert!(sampler.boot().is_some());
}

/// Prints what a look costs; not a test of speed, since machines differ.
#[test]
#[ignore = "a measurement: run it in release mode with --nocapture"]
fn cost() {
    const LOOKS: u32 = 20_000;
    let cpu_time = || {
        let times = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(times.tv_sec as u64, times.tv_nsec as u32)
    };
    let mut sampler = Sampler::new(Path::new("/"));
    let mut judge = judge();
    let start = cpu_time();
    for _ in 0..LOOKS {
        let sample = sampler.sample();
        std::hint::black_box(judge.handle_sample(&sample));
    }
    println!("{:?} of CPU per look", (cpu_time() - start) / LOOKS);
}

proptest! {
    #[test]
    fn the_kernel_may_say_anything(
        text in ".{0,300}",
        numbers in "(cpu |MemTotal: |some avg60=)[0-9. ]{0,80}",
    ) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir_all(dir.path().join("pressure")).expect("made");
        for name in ["stat", "loadavg", "meminfo", "pressure/cpu", "pressure/memory", "uptime"] {
            fs::write(dir.path().join(name), format!("{numbers}\n{text}")).expect("written");
        }
        let mut sampler = Sampler::with_proc(dir.path(), dir.path());
        let mut judge = judge();
        for _ in 0..3 {
            judge.handle_sample(&sampler.sample());
        }
    }

    /// Between two changes of level lie at least as many samples as the change needs.
    #[test]
    fn it_never_flaps(values in proptest::collection::vec(80.0..100.0f64, 1..200)) {
        let mut judge = judge();
        let levels = levels(&mut judge, &values);
        let mut last_change = None;
        for (index, pair) in levels.windows(2).enumerate() {
            if pair[0] == pair[1] {
                continue;
            }
            let needed = if pair[1] > pair[0] { 2 } else { 3 };
            if let Some(last) = last_change.replace(index) {
                prop_assert!(index - last >= needed, "{levels:?}");
            }
            let reached = &values[(index + 2 - needed)..index + 2];
            if pair[1] > pair[0] {
                prop_assert!(reached.iter().all(|value| *value >= 90.0), "{reached:?}");
            } else {
                prop_assert!(reached.iter().all(|value| *value < 97.0 * 0.95), "{reached:?}");
            }
        }
    }
}

#[test]
fn memory_that_ran_out_is_told_once_it_was_seen_to() {
    let proc_root = tempfile::tempdir().expect("a directory");
    let vmstat = proc_root.path().join("vmstat");
    let count = |kills: u32| {
        // Its line stands far down.
        let text = "nr_something 12345\n".repeat(200) + &format!("oom_kill {kills}\nlast 1\n");
        fs::write(&vmstat, text).expect("the directory is ours");
    };
    count(3);
    let mut sampler = Sampler::with_proc(proc_root.path(), proc_root.path());
    let mut judge = Judge::new(&HealthConfig::default());
    let first = sampler.sample();
    assert_eq!(first.memory_ran_out, Some(false), "who knows when that was");
    let told = |report: &Report| {
        let of_memory = |finding: &&Finding| finding.subject == Subject::OutOfMemory;
        report.findings.iter().filter(of_memory).count()
    };
    assert_eq!(told(&judge.handle_sample(&first)), 0);
    count(4);
    let second = sampler.sample();
    assert_eq!(second.memory_ran_out, Some(true));
    let report = judge.handle_sample(&second);
    assert_ne!(report.level(), Level::Ok);
    // Whatever else this computer may complain of.
    let words = "memory ran out, and the kernel ended something";
    assert!(report.reasons().iter().any(|reason| reason == words));
    assert_eq!(sampler.sample().memory_ran_out, Some(true), "for a while");
    let vitals = Vitals::from(&report);
    let heard = Report::from(&vitals);
    assert_eq!(told(&heard), 1);
}

#[test]
fn what_its_provider_announced_is_told_at_once_and_until_it_is_withdrawn() {
    let mut judge = Judge::new(&HealthConfig::default());
    let sample = |announced| Sample {
        announced: Some(announced),
        ..Sample::default()
    };
    let told = judge.handle_sample(&sample(true));
    assert_eq!(told.level(), Level::Warning);
    assert_eq!(
        told.reasons(),
        ["its provider announced that it takes the machine away, or works on it"]
    );
    let there = Report::from(&Vitals::from(&told));
    assert_eq!(there.reasons(), told.reasons());
    assert_eq!(judge.handle_sample(&sample(false)).level(), Level::Ok);
}
