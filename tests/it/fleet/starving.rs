//! A machine that gets processor time now and then only, by its control group.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use muster_tests::system::require;
use muster_tests::{Fleet, Options};

use super::{expect_only_replaced, follower};

/// Where control groups that stop and go are made (version 1).
const FREEZER: &str = "/sys/fs/cgroup/freezer";

/// It stands still for so long, which is noticed, and then goes on for so long, which suffices for an answer.
const STILL: Duration = Duration::from_millis(2200);
const GOES: Duration = Duration::from_millis(1000);

/// As little patience as may be: what is silent for 8 s is replaced.
const IMPATIENT: &str =
    r#"heal = { unreachable_after = "8s", boot_grace = "6s", change_grace = "1s" }"#;

/// A control group of one process, which goes on and is let go when this is dropped.
struct Group(PathBuf);

impl Group {
    /// `None` where this process may make none.
    fn of(pid: u32) -> Option<Self> {
        let path = Path::new(FREEZER).join(format!("muster-test-{pid}"));
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        fs::write(group.0.join("cgroup.procs"), pid.to_string()).ok()?;
        Some(group)
    }

    fn set(&self, state: &str) {
        fs::write(self.0.join("freezer.state"), state).expect("the group is ours");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("freezer.state"), "THAWED");
        let procs = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines() {
            let _ = fs::write(Path::new(FREEZER).join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_machine_that_is_starved_of_processor_time_is_slow_and_never_replaced() {
    let web = "[[group]]\nid = \"web\"\nsize = 3\n";
    let db = "[[group]]\nid = \"db\"\nmembers = [\"db-1\", \"db-2\"]\n";
    let fleet = Fleet::start_with(Options {
        spec: Some(format!("{web}{IMPATIENT}\n\n{db}{IMPATIENT}\n")),
        ..Options::default()
    });
    let before = fleet.wait_whole();
    let starved = follower(&before);
    let group = Group::of(starved.pid());
    if !require("the right to make control groups", group.is_some()) {
        return;
    }
    let group = group.expect("it is there");
    // Longer than any grace.
    for _ in 0..12 {
        group.set("FROZEN");
        thread::sleep(STILL);
        group.set("THAWED");
        thread::sleep(GOES);
    }
    drop(group);
    let suspected = fleet.events_of("member_suspect");
    let seen = suspected
        .iter()
        .any(|event| event["machine"] == starved.name.as_str());
    assert!(seen, "nobody noticed it: {suspected:#?}");
    let after = fleet.wait_whole();
    expect_only_replaced(&fleet, &before, &after, &[]);
}
