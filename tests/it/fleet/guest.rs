//! A machine beside the fleet, started by hand as an operator would.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use muster_tests::fleet::PATIENCE;
use muster_tests::{Fleet, Status, wait};

/// A fleet-wide token, made with these further arguments, and its ID.
#[track_caller]
pub(super) fn token(fleet: &Fleet, arguments: &[&str]) -> (String, String) {
    let answer = fleet
        .ask_any(&[&["token", "create", "--json"], arguments].concat())
        .ok();
    let made = answer.json();
    let text = |key: &str| {
        made[key]
            .as_str()
            .unwrap_or_else(|| panic!("{key}: {answer}"))
            .to_owned()
    };
    (text("token"), text("id"))
}

/// A machine that joins or founds a mesh by hand; ended when dropped.
pub(super) struct Guest {
    child: Child,
    dir: PathBuf,
    log: PathBuf,
}

impl Guest {
    /// Tries to join the fleet with a token, and runs the agent if it may.
    #[track_caller]
    pub(super) fn join(fleet: &Fleet, name: &str, token: &str) -> Self {
        let seed = fleet
            .status()
            .machine("db-1")
            .address
            .clone()
            .expect("it has joined");
        Self::join_at(fleet, name, &seed, token)
    }

    /// The same by way of an address that leads to the fleet.
    #[track_caller]
    pub(super) fn join_at(fleet: &Fleet, name: &str, seed: &str, token: &str) -> Self {
        Self::start(fleet, name, &["join", seed, "--token", token, "--run"])
    }

    /// Makes a mesh of its own.
    #[track_caller]
    pub(super) fn found(fleet: &Fleet, name: &str) -> Self {
        Self::start(fleet, name, &["init", "--cluster-name", "other", "--run"])
    }

    #[track_caller]
    fn start(fleet: &Fleet, name: &str, arguments: &[&str]) -> Self {
        let dir = home(fleet, name);
        std::fs::create_dir_all(&dir).expect("the directory is ours");
        Self::spawn(
            fleet.command(arguments),
            name,
            dir.clone(),
            dir.join("agent.log"),
        )
    }

    /// Makes a mesh of its own on a disk of so many bytes, which only it sees and which goes with it. Needs the rights
    /// that [`muster_tests::system::may_mount`] asks about.
    #[track_caller]
    pub(super) fn found_on_small_disk(fleet: &Fleet, name: &str, bytes: u64) -> Self {
        let arguments = ["init", "--cluster-name", "other", "--run"];
        Self::start_on_small_disk(fleet, name, bytes, &arguments)
    }

    /// Joins the fleet with a token, on such a disk.
    #[track_caller]
    pub(super) fn join_on_small_disk(fleet: &Fleet, name: &str, bytes: u64, token: &str) -> Self {
        let status = fleet.status();
        let seed = status.machine("db-1").address.clone();
        let seed = seed.expect("it has joined");
        let arguments = ["join", &seed, "--token", token, "--run"];
        Self::start_on_small_disk(fleet, name, bytes, &arguments)
    }

    #[track_caller]
    fn start_on_small_disk(fleet: &Fleet, name: &str, bytes: u64, arguments: &[&str]) -> Self {
        const MOUNT_AND_RUN: &str =
            r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@""#;
        let dir = home(fleet, name);
        std::fs::create_dir_all(&dir).expect("the directory is ours");
        let agent = fleet.command(arguments);
        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "sh",
                "-c",
                MOUNT_AND_RUN,
                "sh",
                &bytes.to_string(),
            ])
            .arg(&dir)
            .arg(agent.get_program())
            .args(agent.get_args());
        for (variable, value) in agent.get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        // Its disk may be too full for a log.
        let log = fleet.scratch().join(format!("{name}.log"));
        let mut guest = Self::spawn(command, name, dir.clone(), log);
        // Others see its disk through its process.
        let seen = format!("/proc/{}/root{}", guest.child.id(), dir.display());
        guest.dir = seen.into();
        guest
    }

    #[track_caller]
    fn spawn(mut command: Command, name: &str, dir: PathBuf, log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).expect("the directory is ours");
        let data = dir.display().to_string();
        let address = address();
        command.args(["--name", name, "--data-dir", &data, "--bind", &address]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("muster runs");
        Self { child, dir, log }
    }

    /// Its data directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `--node` takes to ask it.
    pub(super) fn socket(&self) -> String {
        self.dir.join("api.sock").display().to_string()
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether its agent runs.
    pub(super) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits until the fleet counts it among the living.
    #[track_caller]
    pub(super) fn wait_joined(&self, fleet: &Fleet, name: &str) -> Status {
        fleet.wait_for("it has joined", |status| match status.find(name) {
            Some(machine) if machine.status == "alive" => Ok(status.clone()),
            other => Err(format!("{other:?}\n{}", self.log())),
        })
    }

    /// Waits until its agent ends, and says with which exit code.
    #[track_caller]
    pub(super) fn wait_ended(&mut self) -> Option<i32> {
        wait::until("it ends", PATIENCE, || {
            let ended = self.child.try_wait().expect("it is our child");
            ended.map(|status| status.code()).ok_or_else(|| self.log())
        })
    }

    /// Waits until it gives up, and says how.
    #[track_caller]
    pub(super) fn wait_refused(mut self) -> String {
        let code = self.wait_ended();
        assert_eq!(code, Some(1), "{}", self.log());
        self.log()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a guest of this name has its data. Emptied, it is another machine.
fn home(fleet: &Fleet, name: &str) -> PathBuf {
    fleet.scratch().join("guests").join(name)
}

/// An address that no other guest has, of this run or of another one on the same computer. Fleets take none from here.
fn address() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let (second, third) = (192 + process / 250 % 63, process % 250);
    format!("127.{second}.{third}.{}:6878", number % 250 + 1)
}
