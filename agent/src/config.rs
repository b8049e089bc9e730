//! What an agent is told before it starts: a TOML file, environment variables and flags, in rising order of rank.
//!
//! Each key is defined once, in `section!`, with its type, default and description; file,
//! variable (`MUSTER_HEALTH_INTERVAL`), flag (`--health-interval`) and the reference that
//! [`render()`] prints all come from that definition. Nothing here does I/O except [`load`], which reads the one
//! file. Reading reports **all** problems at once, each with its place and a remedy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use muster_provisioners::Properties;

pub use flags::ConfigFlags;
pub use problem::{ConfigError, EXIT_BAD_CONFIGURATION, Place, Problem};
pub use render::{render, render_defaults};
pub use source::{FILE_BYTES_MAX, File, load, read};
pub(crate) use validate::cluster_name_problem;
pub use value::{
    DEFAULT_PORT, LogFormat, Percent, ProvisionerTables, Seed, Threshold, TimingProfile,
};

use setting::{Section, section};

mod flags;
mod problem;
mod render;
mod setting;
mod source;
mod validate;
mod value;

#[cfg(test)]
mod tests;

/// The whole configuration of an agent, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentConfig {
    /// The keys before the first `[section]`: who this machine is and where it finds the others.
    pub machine: MachineConfig,
    /// `[instance]`: which order this machine fulfils.
    pub instance: InstanceConfig,
    /// `[found]`: a mesh that this machine founds.
    pub found: FoundConfig,
    /// `[timing]`: how fast the mesh judges.
    pub timing: TimingConfig,
    /// `[health]`: what this machine reports of itself.
    pub health: HealthConfig,
    /// `[metrics]`: the HTTP listener for metrics and probes.
    pub metrics: MetricsConfig,
    /// `[log]`: what is logged, and how.
    pub log: LogConfig,
    /// `[watchdog]`: what resets this machine when its workload outlives its lease.
    pub watchdog: WatchdogConfig,
    /// `[process]`: machines that are processes on this one.
    pub process: ProcessConfig,
}

impl AgentConfig {
    /// Where the agent answers people and programs: `api_socket`, by default in the data directory.
    pub fn api_socket(&self) -> PathBuf {
        let machine = &self.machine;
        machine
            .api_socket
            .clone()
            .unwrap_or_else(|| machine.data_dir.join("api.sock"))
    }

    /// Where the machines of the `process` provisioner live: `process.root`, by default in the data directory.
    pub fn process_root(&self) -> PathBuf {
        self.process
            .root
            .clone()
            .unwrap_or_else(|| self.machine.data_dir.join("machines"))
    }

    /// The settings of every provisioner that this machine can use, by the provisioner's name: `process`, and those that
    /// have a table.
    pub fn provisioner_settings(&self) -> ProvisionerTables {
        let mut all = self.machine.provisioners.clone();
        let root = self.process_root().display().to_string();
        all.entry("process".to_owned())
            .or_default()
            .set("root", root);
        all
    }

    /// What of this configuration a machine needs that is made by this one, and may lead one day.
    pub fn handed_on(&self) -> Properties {
        let mut settings = Properties::new();
        if !self.machine.provisioners.is_empty() {
            let tables = self.machine.provisioners.iter();
            let tables = tables.map(|(name, table)| (name.clone(), table.to_value()));
            settings.set("provisioners", serde_json::Map::from_iter(tables));
        }
        settings
    }

    /// The sections by name, in the order of the reference. The keys of the first stand before any header.
    fn sections(&self) -> [(&'static str, &dyn Section); 9] {
        [
            ("", &self.machine),
            ("instance", &self.instance),
            ("found", &self.found),
            ("timing", &self.timing),
            ("health", &self.health),
            ("metrics", &self.metrics),
            ("log", &self.log),
            ("watchdog", &self.watchdog),
            ("process", &self.process),
        ]
    }

    /// The same sections, to be changed.
    fn sections_mut(&mut self) -> [(&'static str, &mut dyn Section); 9] {
        [
            ("", &mut self.machine),
            ("instance", &mut self.instance),
            ("found", &mut self.found),
            ("timing", &mut self.timing),
            ("health", &mut self.health),
            ("metrics", &mut self.metrics),
            ("log", &mut self.log),
            ("watchdog", &mut self.watchdog),
            ("process", &mut self.process),
        ]
    }
}

section! {
    /// Who this machine is and where it finds the others.
    pub struct MachineConfig {
        /// The machine's name in the fleet: lower-case letters, digits and hyphens, at most 63.
        /// Default: the host's name. The coordinators' record wins over it once the machine has joined.
        pub name: Option<String> = None => "\"web-1\"",
        /// Where identity, keys and the copy of the fleet's state are kept, readable by the agent alone.
        /// Costs a few MiB; must survive a restart, or the machine comes back as another one.
        pub data_dir: PathBuf = "/var/lib/muster".into(),
        /// The UDP address on which the mesh is served.
        pub bind: SocketAddr = SocketAddr::from(([0, 0, 0, 0], DEFAULT_PORT)),
        /// The address that others reach this machine at, where that is not `bind` (address translation, containers).
        /// Default: `bind`; where that is `0.0.0.0` or `[::]`, the address of the route to the first seed.
        pub advertise: Option<SocketAddr> = None => "\"10.0.0.5:6878\"",
        /// The Unix socket of the command line, created with mode 0660. At most 107 bytes long.
        /// Default: `api.sock` in the data directory.
        pub api_socket: Option<PathBuf> = None => "\"/run/muster/api.sock\"",
        /// Machines to ask for the mesh, at start and whenever too few members are known. Two or three are enough.
        pub seeds: Vec<Seed> = Vec::new() => "[\"10.0.0.1:6878\", \"muster.example.org\"]",
        /// What admits this machine the first time; ignored once it has an identity. Prefer `join_token_file`:
        /// a flag or variable shows in the process list.
        pub join_token: Option<String> = None => "\"muster1-...\"",
        /// A file that holds the join token. Read once, when there is no identity yet.
        pub join_token_file: Option<PathBuf> = None => "\"/etc/muster/token\"",
        /// Words about this machine that groups and people select by, such as its `zone` and `rack`.
        /// Every machine keeps a copy of every label: keep them short. At most 32, keys 63 and values 255 bytes.
        pub labels: BTreeMap<String, String> = BTreeMap::new() => "{ zone = \"a\", rack = \"r12\" }",
        /// Whether this machine may become one of the coordinators. Costs about 10 MiB and a disk write per decision
        /// while it is one.
        pub coordinator: bool = true,
        /// How many coordinators the mesh should have: 1, 3, 5 or 7; the same on all machines, since the one that leads
        /// counts. Default: 3, with more than 50 machines 5, with more than 200 in three zones 7. More bear more failures at
        /// one moment, and make every decision wait for more disks.
        pub coordinators: Option<u32> = None => "5",
        /// How long the certificates live that this machine gives out while it leads. They are renewed at two thirds of
        /// it. A stolen one is worth so long; a mesh without a leader for so long needs its coordinators back first.
        pub certificate_lifetime: Duration = muster_mesh::pki::LEAF_LIFETIME,
        /// A shell script that the agent runs once, when the machine first starts and before it joins. For machines
        /// without an init system of their own, such as those of the `process` provisioner.
        pub first_boot: Option<String> = None => "\"echo made on $(date) > first-boot\"",
        /// What this machine can make machines with, apart from `process`: a table for each provisioner, such as
        /// `[provisioners.lxd]`, with the keys of `docs/provisioners.md`. Machines that it makes get the same tables, so
        /// credentials don't belong here.
        pub provisioners: ProvisionerTables = BTreeMap::new() => "{}",
    }
}

section! {
    /// Which order this machine fulfils. Written by the provisioner that makes a machine, not by people.
    pub struct InstanceConfig {
        /// The provisioner that made this machine.
        pub provisioner: Option<String> = None => "\"process\"",
        /// What that provisioner calls it.
        pub id: Option<String> = None => "\"web-1-2f1c\"",
        /// The operation that ordered it.
        pub operation: Option<String> = None => "\"op-2f1c...\"",
        /// The group that it was ordered for.
        pub group: Option<String> = None => "\"web\"",
        /// Which one of its group it is: the machine's name for cattle, the logical ID of a pet.
        pub member: Option<String> = None => "\"web-1\"",
    }
}

section! {
    /// A mesh that this machine founds at its first start. Written by `muster dev`; people use `muster init`.
    pub struct FoundConfig {
        /// The mesh's ID: 16 hexadecimal digits.
        pub cluster: Option<String> = None => "\"1f2e3d4c5b6a7988\"",
        /// Whether the founding machine is a pet, named by `member`; cattle otherwise.
        pub pet: bool = false,
        /// The mesh's name, for people. Without it, no mesh is founded.
        pub name: Option<String> = None => "\"dev\"",
    }
}

section! {
    /// How fast the mesh judges, and what it spends on that. The same on all machines.
    pub struct TimingConfig {
        /// `lan`: one site; a silent machine is suspected within 2 s and judged within 6 s.
        /// `wan`: sites up to 300 ms apart; about three times slower, and a third of the packets.
        pub profile: TimingProfile = TimingProfile::Lan,
    }
}

section! {
    /// What this machine reports of itself. A report travels only when it changed, so quiet machines cost nothing.
    pub struct HealthConfig {
        /// How often the machine is looked at. A look costs less than a millisecond of CPU.
        pub interval: Duration = Duration::from_secs(5),
        /// How many looks in a row must be bad before the report gets worse; keeps short peaks quiet.
        pub raise_after: u32 = 2,
        /// How many looks in a row must be good before the report gets better; keeps it from flapping.
        pub clear_after: u32 = 3,
        /// How far below its threshold a value must fall to count as good, in percent of the threshold.
        pub clear_margin_percent: Percent = Percent::of(5),
        /// How far a value must move, in percentage points, before it is reported although the level stays the same.
        /// Lower values cost packets on every machine of the fleet.
        pub report_step_percent: Percent = Percent::of(10),
        /// Busy time of all processors together that is a warning.
        pub cpu_warning_percent: Threshold<Percent> = Threshold::at(Percent::of(95)),
        /// Busy time of all processors together that is critical. Off: a busy machine works as it should.
        pub cpu_critical_percent: Threshold<Percent> = Threshold::OFF,
        /// Runnable and blocked tasks per processor (the one-minute load average) that are a warning.
        pub load_warning_per_cpu: Threshold<f64> = Threshold::at(4.0),
        /// Runnable and blocked tasks per processor that are critical.
        pub load_critical_per_cpu: Threshold<f64> = Threshold::OFF,
        /// Memory that is not available for new programs (caches count as available) that is a warning.
        pub memory_warning_percent: Threshold<Percent> = Threshold::at(Percent::of(90)),
        /// Memory that is not available for new programs that is critical.
        pub memory_critical_percent: Threshold<Percent> = Threshold::at(Percent::of(97)),
        /// Used space or used inodes of the data directory's file system that are a warning.
        pub disk_warning_percent: Threshold<Percent> = Threshold::at(Percent::of(85)),
        /// Used space or used inodes of the data directory's file system that are critical.
        pub disk_critical_percent: Threshold<Percent> = Threshold::at(Percent::of(95)),
        /// Share of the last minute in which some task waited for a processor (PSI) that is a warning.
        pub cpu_pressure_warning_percent: Threshold<Percent> = Threshold::at(Percent::of(80)),
        /// Share of the last minute in which some task waited for a processor that is critical.
        pub cpu_pressure_critical_percent: Threshold<Percent> = Threshold::OFF,
        /// Share of the last minute in which all tasks waited for memory (PSI) that is a warning.
        pub memory_pressure_warning_percent: Threshold<Percent> = Threshold::at(Percent::of(10)),
        /// Share of the last minute in which all tasks waited for memory that is critical.
        pub memory_pressure_critical_percent: Threshold<Percent> = Threshold::at(Percent::of(40)),
        /// Share of the last minute in which all tasks waited for disks (PSI) that is a warning.
        pub io_pressure_warning_percent: Threshold<Percent> = Threshold::at(Percent::of(50)),
        /// Share of the last minute in which all tasks waited for disks that is critical.
        pub io_pressure_critical_percent: Threshold<Percent> = Threshold::OFF,
        /// Difference between this clock and the peers' that is a warning.
        pub clock_warning: Threshold<Duration> = Threshold::at(Duration::from_millis(500)),
        /// Difference between this clock and the peers' that is critical: certificates and leases depend on it.
        pub clock_critical: Threshold<Duration> = Threshold::at(Duration::from_secs(5)),
    }
}

section! {
    /// The HTTP listener with `/metrics` (Prometheus text), `/live` and `/ready`.
    pub struct MetricsConfig {
        /// Where to listen (TCP). Default: nowhere; a listener costs about 100 KiB.
        pub listen: Option<SocketAddr> = None => "\"127.0.0.1:6879\"",
        /// Allows an address that is not of the loopback. The listener has neither encryption nor passwords.
        pub public: bool = false,
    }
}

section! {
    /// What is logged to standard error, and how.
    pub struct LogConfig {
        /// `error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,muster::heal=debug`.
        /// Can be changed while the agent runs: `muster log-level`.
        pub level: String = "info".to_owned(),
        /// `human` for people, `json` for one object a line.
        pub format: LogFormat = LogFormat::Human,
    }
}

section! {
    /// What resets this machine when the workload of a pet can't be stopped in time, or nothing runs any more to stop it.
    pub struct WatchdogConfig {
        /// The watchdog's device. It is fed by the agent alone, and must bite within the group's `stop_within`: its driver
        /// is told so when it is loaded (`softdog soft_margin=3`). Default: none.
        pub device: Option<PathBuf> = None => "\"/dev/watchdog\"",
    }
}

section! {
    /// Machines that are processes on this one: the `process` provisioner.
    pub struct ProcessConfig {
        /// The directory of those machines, the same for all agents that share this computer.
        /// Default: `machines` in the data directory.
        pub root: Option<PathBuf> = None => "\"/var/lib/muster/machines\"",
    }
}
