//! A network of its own for a fleet: the loopback of a fresh namespace, where packets can be dropped and counted
//! without touching the machine's own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::command::{self, Answer};

/// A network namespace with its loopback up; removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

/// What has gone over the loopback of a namespace, headers included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Namespace {
    /// Makes a namespace. Needs the rights that [`crate::system::may_make_namespaces`] asks about.
    #[track_caller]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_orphans();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self {
            name: format!("muster-{}-{number}", std::process::id()),
        };
        run(Command::new("ip").args(["netns", "add", &namespace.name]));
        namespace.run(&["ip", "link", "set", "lo", "up"]);
        namespace
    }

    /// A command that runs in the namespace.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs a command in the namespace; fails the test when it fails.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Answer {
        run(Command::new("ip")
            .args(["netns", "exec", &self.name])
            .args(words))
    }

    /// Drops every packet between the addresses of two sides, until [`Namespace::heal`].
    #[track_caller]
    pub fn part(&self, left: &[String], right: &[String]) {
        for (from, to) in left.iter().flat_map(|a| right.iter().map(move |b| (a, b))) {
            for (source, destination) in [(from, to), (to, from)] {
                self.drop_where(&["-s", source, "-d", destination]);
            }
        }
    }

    /// Drops every packet from and to an address.
    #[track_caller]
    pub fn silence(&self, address: &str) {
        self.drop_where(&["-d", address]);
        self.drop_where(&["-s", address]);
    }

    /// Drops every packet to an address, and none from it.
    #[track_caller]
    pub fn deafen(&self, address: &str) {
        self.drop_where(&["-d", address]);
    }

    /// Loses a share of all packets, at random.
    #[track_caller]
    pub fn lose(&self, share: f64) {
        let share = share.to_string();
        self.drop_where(&[
            "-m",
            "statistic",
            "--mode",
            "random",
            "--probability",
            &share,
        ]);
    }

    /// Lets everything through again.
    #[track_caller]
    pub fn heal(&self) {
        self.filter(&["-F", "INPUT"]);
    }

    /// Drops every arriving packet that matches.
    #[track_caller]
    fn drop_where(&self, matches: &[&str]) {
        self.filter(&[&["-A", "INPUT"], matches, &["-j", "DROP"]].concat());
    }

    /// Filters are each namespace's own, but their lock is the whole machine's: it has to be waited for.
    #[track_caller]
    fn filter(&self, words: &[&str]) {
        self.run(&[&["iptables", "--wait", "30"], words].concat());
    }

    /// What has gone over its loopback so far.
    #[track_caller]
    pub fn traffic(&self) -> Traffic {
        let figure = |name: &str| {
            let path = format!("/sys/class/net/lo/statistics/{name}");
            let answer = self.run(&["cat", &path]);
            answer
                .stdout
                .trim()
                .parse()
                .unwrap_or_else(|error| panic!("{error}: {answer}"))
        };
        Traffic {
            packets: figure("tx_packets"),
            bytes: figure("tx_bytes"),
        }
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let path = Path::new("/run/netns").join(&self.name);
        if fs::exists(path).unwrap_or(true) {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.name])
                .status();
        }
    }
}

/// Removes the namespaces of tests that were killed before they could do so. Their names tell whose they were.
fn remove_orphans() {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name
            .strip_prefix("muster-")
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(pid, _)| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Another test may be at it, too.
            let _ = command::run(
                Command::new("ip")
                    .args(["netns", "del", &name])
                    .env("PATH", path_with_sbin()),
                b"",
                command::DEADLINE,
            );
        }
    }
}

#[track_caller]
fn run(command: &mut Command) -> Answer {
    command.env("PATH", path_with_sbin());
    command::run(command, b"", command::DEADLINE).ok()
}

/// Debian keeps `ip` and `iptables` where only root looks.
fn path_with_sbin() -> String {
    format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    )
}
