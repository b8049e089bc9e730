//! `muster simulate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration;
use crate::simulate::{CloudModel, Fault, FaultKind, Moment, Occasion, Percent, Target};

/// `muster simulate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        muster simulate -f web.toml --kill zone:a@10m\n  \
        muster simulate -f web.toml --machines 1000 --for 1h --kill zone:a@10m --loss 5% --seed 7\n  \
        muster simulate --pause web-1@1m+30s --partition any:2@5m+2m --provider-down 4m+10m\n  \
        muster simulate -f web.toml --faults rack-loss.toml --seeds 1000\n  \
        muster simulate --random --seeds 100000\n\n\
        TARGET is zone:NAME, group:NAME, a machine's name, leader, coordinators, any:NUMBER, SHARE% or all. AT and \
        FOR are times like 90s or 10m, from the beginning. Exits with 4 where an invariant was broken.\n\n\
        What is the shipped code and what is a model: docs/simulating.md.")]
pub(crate) struct SimulateArgs {
    /// The specs; without, the fleet that `muster dev` runs.
    #[arg(short, long = "file", num_args = 1.., value_name = "SPEC", conflicts_with = "random")]
    pub(crate) files: Vec<PathBuf>,
    /// How many machines in all; the first cattle group gets as many as that takes.
    #[arg(long, value_name = "N", conflicts_with = "random", value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) machines: Option<u32>,
    /// How much virtual time passes.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration, conflicts_with = "random")]
    pub(crate) length: Duration,
    /// Decides everything that is random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Simulate so many seeds, from --seed on, and say which break an invariant.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) seeds: Option<u64>,
    /// Random small fleets with random faults, another one for each seed.
    #[arg(long)]
    pub(crate) random: bool,
    /// Drive the mesh through every second, also through those in which nothing happens; slower.
    #[arg(long)]
    pub(crate) exact: bool,
    /// How many lines of the timeline to show; --json has all.
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) lines: usize,
    /// What happens.
    #[command(flatten)]
    pub(crate) faults: FaultArgs,
    /// What makes machines.
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// What happens, each as often as you like.
#[derive(Debug, Args)]
#[command(next_help_heading = "What happens")]
pub(crate) struct FaultArgs {
    /// Machines are gone, and their provider knows it.
    #[arg(long, value_name = "TARGET@AT", conflicts_with = "random")]
    kill: Vec<Occasion>,
    /// Machines fall silent while their provider says that they run: a power cut, a kernel that hangs.
    #[arg(long, value_name = "TARGET@AT[+FOR]", conflicts_with = "random")]
    silence: Vec<Occasion>,
    /// Agents end while their hosts run; they start again after FOR (1m).
    #[arg(long, value_name = "TARGET@AT[+FOR]", conflicts_with = "random")]
    crash: Vec<Occasion>,
    /// Machines stand still, and go on after FOR (1m).
    #[arg(long, value_name = "TARGET@AT[+FOR]", conflicts_with = "random")]
    pause: Vec<Occasion>,
    /// Machines are cut off from all others.
    #[arg(long, value_name = "TARGET@AT[+FOR]", conflicts_with = "random")]
    partition: Vec<Occasion>,
    /// No packet reaches the machines; their own reach everybody.
    #[arg(long, value_name = "TARGET@AT[+FOR]", conflicts_with = "random")]
    deaf: Vec<Occasion>,
    /// None of the machines' packets reaches anybody.
    #[arg(long, value_name = "TARGET@AT[+FOR]", conflicts_with = "random")]
    mute: Vec<Occasion>,
    /// The machines' disks are full: they neither vote nor acknowledge.
    #[arg(long, value_name = "TARGET@AT[+FOR]", conflicts_with = "random")]
    disk_full: Vec<Occasion>,
    /// Agents end, and the last of their logs was not stored; they start again after FOR (1m).
    #[arg(long, value_name = "TARGET@AT[+FOR]", conflicts_with = "random")]
    torn: Vec<Occasion>,
    /// Workloads fail until they are restarted.
    #[arg(long, value_name = "TARGET@AT[+FOR]", conflicts_with = "random")]
    workload: Vec<Occasion>,
    /// Health checks say that workloads fail, though they do not.
    #[arg(long, value_name = "TARGET@AT[+FOR]", conflicts_with = "random")]
    health_check: Vec<Occasion>,
    /// Machines say goodbye and go for good.
    #[arg(long, value_name = "TARGET@AT", conflicts_with = "random")]
    leave: Vec<Occasion>,
    /// The provider answers no call.
    #[arg(long, value_name = "AT[+FOR]", conflicts_with = "random")]
    provider_down: Vec<Moment>,
    /// The provider takes calls, answers none, and carries them out at the end.
    #[arg(long, value_name = "AT[+FOR]", conflicts_with = "random")]
    provider_late: Vec<Moment>,
    /// Share of packets that get lost, everywhere and always.
    #[arg(long, value_name = "SHARE", conflicts_with = "random")]
    pub(crate) loss: Option<Percent>,
    /// A file of faults (TOML).
    #[arg(long = "faults", value_name = "FILE", conflicts_with = "random")]
    pub(crate) file: Option<PathBuf>,
}

impl FaultArgs {
    /// The faults of the flags.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let kinds = [
            (FaultKind::Kill, &self.kill),
            (FaultKind::Silence, &self.silence),
            (FaultKind::Crash, &self.crash),
            (FaultKind::Pause, &self.pause),
            (FaultKind::Partition, &self.partition),
            (FaultKind::Deaf, &self.deaf),
            (FaultKind::Mute, &self.mute),
            (FaultKind::DiskFull, &self.disk_full),
            (FaultKind::Torn, &self.torn),
            (FaultKind::Workload, &self.workload),
            (FaultKind::HealthCheck, &self.health_check),
            (FaultKind::Leave, &self.leave),
        ];
        let of_machines = kinds
            .into_iter()
            .flat_map(|(kind, occasions)| occasions.iter().map(move |one| one.clone().of(kind)));
        let of_provider = [
            (FaultKind::ProviderDown, &self.provider_down),
            (FaultKind::ProviderLate, &self.provider_late),
        ];
        let of_provider = of_provider.into_iter().flat_map(|(kind, moments)| {
            moments.iter().map(move |moment| Fault {
                kind,
                target: Target::Nobody,
                at: moment.at,
                lasts: moment.lasts,
            })
        });
        of_machines.chain(of_provider).collect()
    }
}

/// What makes machines.
#[derive(Debug, Args)]
#[command(next_help_heading = "The modelled provider")]
pub(crate) struct CloudArgs {
    /// From an accepted order until the new machine asks to join, give or take a fifth.
    #[arg(long, value_name = "DURATION", default_value = "40s", value_parser = duration)]
    boot: Duration,
    /// How long a call takes.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    latency: Duration,
    /// How long a list may show what was before.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    list_lag: Duration,
    /// Share of calls that fail.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    errors: Percent,
    /// Share of calls that do what they should and answer with an error.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    lies: Percent,
    /// Share of new machines that never come up.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    duds: Percent,
    /// It can neither prove an instance off nor end it, and says of each that it runs: what leases of pets are for.
    #[arg(long)]
    blind: bool,
    /// Its machines are hardware: it can reimage them, and a silent one has its power cycled before it is replaced.
    #[arg(long)]
    hardware: bool,
    /// Instances that it makes a minute; no limit when absent.
    #[arg(long, value_name = "N")]
    per_minute: Option<u32>,
}

impl CloudArgs {
    /// The model.
    pub(crate) fn model(&self) -> CloudModel {
        CloudModel {
            boot: self.boot,
            latency: self.latency,
            list_lag: self.list_lag,
            errors: self.errors.0,
            lies: self.lies.0,
            per_minute: self.per_minute,
            duds: self.duds.0,
            blind: self.blind,
            hardware: self.hardware,
        }
    }
}
