//! Whoever makes machines may die at any moment.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

/// Another process that makes machines; killed at the end.
struct Creator(Child);

impl Creator {
    fn start(rig: &Rig, cluster: &str, count: u64, disk: &str) -> Self {
        let child = Command::new(HELPER)
            .arg("provision")
            .arg(rig.root())
            .args([cluster, &count.to_string(), disk])
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("started"))
    }

    /// Waits until it has printed that many lines.
    fn lines(&mut self, count: usize) -> Vec<String> {
        let output = self.0.stdout.take().expect("a pipe");
        BufReader::new(output)
            .lines()
            .take(count)
            .map(|line| line.expect("a line"))
            .collect()
    }

    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("reaped");
    }
}

impl Drop for Creator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_machine_outlives_its_creator() {
    let rig = Rig::new().await;
    let mut creator = Creator::start(&rig, "c", 1, "-");
    let id: InstanceId = creator.lines(1)[0].parse().expect("an ID");
    rig.until_ready(&id).await;
    let before = rig.find(&id).await;
    creator.kill();
    assert_eq!(rig.find(&id).await, before);
    assert!(is_alive(pid_of(&before)));
    rig.provisioner
        .reboot(&id, soon())
        .await
        .expect("others can work with it");
    assert_eq!(rig.state(&id).await, InstanceState::Running);
}

#[tokio::test]
async fn several_processes_with_one_operation_make_one_machine() {
    let rig = Rig::new().await;
    let mut creators: Vec<_> = (0..4).map(|_| Creator::start(&rig, "c", 3, "-")).collect();
    let made: BTreeSet<_> = creators
        .iter_mut()
        .map(|creator| creator.lines(4))
        .collect();
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(rig.list().await.len(), 3);
    rig.until_processes(3).await;
}

/// Creators are killed at moments all over their work. Whatever they leave, every process there is must be listed as
/// running and no other, and repeating the operations must make exactly what was ordered.
#[tokio::test]
async fn creators_killed_anywhere_leave_nothing_untracked_and_nothing_twice() {
    let rig = Rig::new().await;
    const MACHINES: u64 = 6;
    for round in 0..24 {
        let creator = Creator::start(&rig, "c", MACHINES, "-");
        tokio::time::sleep(Duration::from_millis(5 + round * 7)).await;
        creator.kill();
        // A launcher may be at work still; it is bounded, and its order holds only so long.
        let start = Instant::now();
        loop {
            let running: BTreeSet<_> = rig
                .list()
                .await
                .iter()
                .filter(|instance| instance.state == InstanceState::Running)
                .map(pid_of)
                .collect();
            if running == rig.processes() {
                break;
            }
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{running:?} and {:?}",
                rig.processes()
            );
        }
    }
    let mut creator = Creator::start(&rig, "c", MACHINES, "-");
    let mut lines = creator.lines(7);
    assert_eq!(lines.pop().as_deref(), Some("done"));
    let ids: BTreeSet<InstanceId> = lines
        .iter()
        .map(|line| line.parse().unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let list = rig.list().await;
    assert_eq!(
        list.iter()
            .map(|instance| instance.id.clone())
            .collect::<BTreeSet<_>>(),
        ids
    );
    assert_eq!(rig.processes(), list.iter().map(pid_of).collect());
    assert_eq!(rig.provisioner.check(soon()).await, Ok(()));
}

#[tokio::test]
async fn a_machine_whose_creator_died_before_it_started_is_started_by_the_next() {
    let rig = Rig::new().await;
    // Holding the lock stops the launcher where its creator has done all it does.
    let id = stuck(&rig, "a").await;
    assert_eq!(rig.list().await[0].state, InstanceState::Starting);
    assert_eq!(rig.processes(), BTreeSet::new());
    assert_eq!(rig.make(&spec("a")).await, id);
    rig.until_processes(1).await;
}

#[tokio::test]
async fn an_order_to_start_that_nobody_followed_runs_out() {
    let rig = Rig::new().await;
    let id = stuck(&rig, "a").await;
    let proof = rig
        .provisioner
        .prove_off(&id, soon())
        .await
        .expect("answered");
    assert!(!proof.is_off(), "it may be started yet: {proof:?}");
    age(&rig.file(&id, "starting"));
    assert_eq!(rig.state(&id).await, InstanceState::Stopped);
    assert!(
        rig.provisioner
            .prove_off(&id, soon())
            .await
            .expect("answered")
            .is_off()
    );
    // A launcher that comes so late, after the proof, finds its order void.
    let late = Command::new(HELPER)
        .arg("process-launch")
        .arg(rig.file(&id, ""))
        .output();
    let late = late.expect("ran");
    assert_eq!(String::from_utf8_lossy(&late.stdout), "\"Void\"\n");
    assert_eq!(rig.processes(), BTreeSet::new());
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    assert_eq!(rig.list().await, []);
}

#[tokio::test]
async fn an_order_to_start_does_not_outlast_the_fleet() {
    let rig = Rig::new().await;
    let id = stuck(&rig, "a").await;
    let order = fs::read(rig.file(&id, "starting")).expect("there");
    rig.provisioner.shut_down(soon()).await.expect("shut down");
    assert!(!rig.file(&id, "starting").exists());
    // Nor does one that is given by somebody who looked before the fleet was stopped.
    fs::write(rig.file(&id, "starting"), order).expect("written");
    let late = Command::new(HELPER)
        .arg("process-launch")
        .arg(rig.file(&id, ""))
        .output();
    let answer = String::from_utf8(late.expect("ran").stdout).expect("UTF-8");
    assert!(answer.contains("unavailable"), "{answer}");
    assert_eq!(rig.processes(), BTreeSet::new());
}

/// A machine of which everything is there but the process: its creator and the launcher died.
async fn stuck(rig: &Rig, member: &str) -> InstanceId {
    let mut config = config(&rig.root());
    config.launcher = Some("/bin/true".into());
    let provisioner = config.open(soon()).await.expect("opened");
    let made = provisioner
        .provision(&spec(member), &op(member, "provision"), soon())
        .await;
    assert!(
        made.expect_err("the launcher does nothing")
            .is_outcome_unknown()
    );
    rig.list().await[0].id.clone()
}

/// Makes an order as old as can be.
fn age(order: &Path) {
    let text = fs::read_to_string(order).expect("there");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["at_ms"] = 0.into();
    fs::write(order, json.to_string()).expect("written");
}

#[tokio::test]
async fn unfinished_directories_are_cleared_away_and_made_anew() {
    let rig = Rig::new().await;
    let id = rig.make(&spec("a")).await;
    rig.provisioner
        .destroy(&id, &op("a", "destroy"), soon())
        .await
        .expect("destroyed");
    for name in [
        format!(".new-{id}"),
        format!(".gone-{id}"),
        ".new-p-zzzzzzzzzzzz".to_owned(),
    ] {
        fs::create_dir_all(rig.root().join("instances").join(name).join("state")).expect("made");
    }
    assert_eq!(rig.list().await, []);
    rig.another().await;
    let left = fs::read_dir(rig.root().join("instances"))
        .expect("readable")
        .count();
    assert_eq!(left, 0);
    fs::create_dir_all(rig.root().join("instances/.new-p-rest")).expect("made");
    rig.make(&spec("b")).await;
}
