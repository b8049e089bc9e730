//! The command line: every command, flag and example.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::replay::Change;

mod agent;
mod dev;
mod group;
mod hand;
mod hidden;
mod infrakit;
mod parsers;
mod pause;
mod secrets;
mod simulate;

pub(crate) use agent::{AgentArgs, ConfigArgs, InitArgs, JoinArgs};
pub(crate) use dev::{DevArgs, DevCommand};
pub(crate) use group::GroupCommand;
pub(crate) use hand::HandArgs;
pub(crate) use hidden::HiddenCommand;
pub(crate) use infrakit::InfrakitCommand;
pub(crate) use pause::{PauseArgs, PauseCommand, ResumeArgs};
pub(crate) use secrets::{OperatorCommand, TokenCommand};
pub(crate) use simulate::SimulateArgs;

use parsers::{duration, order};

/// How long a question waits for its answer when nothing else is said.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

const ABOUT: &str = "A fleet of machines that notices, decides and heals by itself.";

const LONG_ABOUT: &str = "\
A fleet of machines that notices, decides and heals by itself.

Every machine runs `muster agent`. The agents form one encrypted mesh, notice each other's trouble within seconds, \
agree on who acts, and have a failed machine replaced by whatever made it. There is no server: any machine answers \
for the fleet.";

const AFTER_HELP: &str = "\
Try it on this machine:
  muster dev                        a fleet of five, and a live view of it
  muster status                     the same fleet, asked from another shell
  muster explain web-2              why something was done to web-2, or was not

A real mesh:
  first$  muster init && muster agent
  first$  muster token create
  second$ muster join 10.0.0.1 --token muster1-... && muster agent

Environment:
  MUSTER_NODE       whom to ask, as --node
  MUSTER_IDENTITY   the operator's certificate and key, as --identity
  MUSTER_*          every key of the agent's configuration; see `muster agent --help`
  NO_COLOR          no colours, as --color never

Exit codes:
  0 fine, 1 failed, 2 wrong usage, 3 cannot reach the node, 4 not healthy (status --check) or an
  invariant broken (simulate),
  64 bad configuration or spec";

const HAND_HELP: &str = "\
Examples:
  muster reboot web-2 --reason 'new kernel' --wait
  muster replace db-1 --for 2h                    stands for two hours while a rule holds it
  muster reboot web-2 --force budget              although as many as may are under way
  muster cancel web-2

The order passes the same rules as what the fleet does by itself, except `cordoned`, `mode` and `grace`, which are about \
what the fleet does unasked. The answer shows what every rule says. Where one holds, the order stands until it lets go, \
until its time is up, or until `muster cancel`. --force names one rule that is not to stop it, and is kept on record; \
`quorum`, `fence` and `ladder` can't be forced, nor `evidence` where a machine is replaced or reimaged. A coordinator gives its seat to another \
machine first, where one can take it.";

/// Everything that can be said on the command line.
#[derive(Debug, Parser)]
#[command(
    name = "muster",
    version,
    about = ABOUT,
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Whom to ask: a socket, an address, or the name of a machine of the `dev` fleet here.
    ///
    /// A path is an agent's socket, or a directory that holds one. `IP:PORT` is a machine of the mesh, asked with
    /// the operator's certificate from --identity. By default this machine's own agent is asked, and where none
    /// runs the fleet that `muster dev` runs in the current directory.
    #[arg(
        long,
        global = true,
        env = "MUSTER_NODE",
        value_name = "SOCKET|ADDR",
        hide_env_values = true
    )]
    pub(crate) node: Option<String>,
    /// The operator's certificate and key, from `muster operator create`; for --node ADDR.
    ///
    /// By default ~/.config/muster/operator.pem.
    #[arg(
        long,
        global = true,
        env = "MUSTER_IDENTITY",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub(crate) identity: Option<PathBuf>,
    /// Answer in JSON, for programs; the keys are documented and only ever added to.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colours.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorWhen,
    /// How long to wait for an answer: 15s by default. `join` goes on trying for so long, 150s by default.
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

impl Global {
    /// How long to wait for the answer to one question.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(ANSWER_TIMEOUT)
    }
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole fleet on this machine and keep it healed
    Dev(DevArgs),

    /// Make a new mesh, with this machine as its first coordinator
    #[command(
        after_help = "Examples:\n  muster init\n  muster init --cluster-name prod --bind 10.0.0.1:6878\n\n\
        Afterwards run `muster agent`, and let others in with `muster token create`."
    )]
    Init(InitArgs),
    /// Join a mesh
    #[command(
        after_help = "Examples:\n  muster join 10.0.0.1 10.0.0.2:6878 --token muster1-...\n  \
        muster join first.example.org --token - < token.txt\n\n\
        Afterwards run `muster agent`. The token pins the cluster's certificate: nobody else can pose as the mesh."
    )]
    Join(JoinArgs),
    /// Run this machine's agent
    #[command(
        after_help = "Examples:\n  muster agent\n  muster agent --config /etc/muster.toml --log-level debug\n  \
        muster agent --print-config > muster.toml\n\n\
        Every key of the configuration is a flag and a variable too: health.interval is --health-interval and \
        MUSTER_HEALTH_INTERVAL. Exits with 64 where the configuration is wrong, with all that is wrong."
    )]
    Agent(AgentArgs),
    /// Make the asked machine leave the mesh for good, and stop
    #[command(
        after_help = "A machine that leaves is not replaced because it failed; its group makes another one \
        where it is one short. To take a machine out for a while just stop its agent."
    )]
    Leave {
        /// Don't ask. Without a terminal this must be said.
        #[arg(short, long)]
        yes: bool,
    },

    /// Tokens that let machines join
    #[command(subcommand, visible_alias = "tokens")]
    Token(TokenCommand),
    /// Certificates for people and programs that ask from elsewhere
    #[command(subcommand, visible_alias = "operators")]
    Operator(OperatorCommand),

    /// Make groups be as their specs say
    #[command(
        after_help = "Examples:\n  muster apply -f web.toml\n  muster apply -f web.toml -f db.json --dry-run\n  \
        generate | muster apply -f - --yes\n\n\
        Shows what would change and asks. Specs are checked whole, provisioner and flavor included, before anything \
        is stored; all that is wrong is said at once, with file, line and remedy (exit code 64). Where a group \
        changed meanwhile, nothing is applied."
    )]
    Apply(ApplyArgs),
    /// Groups of machines
    #[command(subcommand, visible_alias = "groups")]
    Group(GroupCommand),
    /// What InfraKit's own tools need to work with a mesh
    #[command(subcommand)]
    Infrakit(InfrakitCommand),
    /// Decide again what a leader decided, by the same rules or by others
    #[command(
        after_help = "Examples:\n  muster replay /var/lib/muster\n  muster replay .muster-dev/instances/p-*/state/decisions --with grace=10s\n  \
        muster replay /var/lib/muster/decisions/0000000042.replay --with web.budget=2 --with per_hour=20\n\n\
        A leader keeps its last records in `decisions` below its data directory. RULE is budget, per_hour, grace, \
        boot_grace, change_grace or mode; with a group's ID and a dot before it for one group only. Without --with \
        the same bytes must come out: exits with 1 where they don't."
    )]
    Replay(ReplayArgs),
    /// Find what is allowed in specs and yet wrong, without running anything
    #[command(
        after_help = "Examples:\n  muster lint -f web.toml\n  muster lint -f web.toml -f db.toml --json\n\n\
        Give all specs of a fleet together: what one zone or one group may lose depends on the others. Exits with 1 \
        where there are errors; with --strict also where there are warnings."
    )]
    Lint(LintArgs),
    /// See what would happen to a fleet, in virtual time, before it happens
    Simulate(Box<SimulateArgs>),

    /// The whole fleet at a glance
    #[command(
        after_help = "Examples:\n  muster status\n  muster status --watch\n  muster status --check || page-someone\n  \
        muster status --json | jq -r '.machines[] | select(.status != \"alive\") | .name'"
    )]
    Status(StatusArgs),
    /// The mesh as one machine sees it
    Members,
    /// All that is known of one machine
    #[command(
        after_help = "Examples:\n  muster machine web-2\n  muster machine web-2 --last-words\n\n\
        Every machine keeps the last minutes of what it hears from others about how they are. --last-words asks this \
        machine, the machine itself, and those nearest to it, and puts together what they hold. Of several machines of \
        one name the last that is gone is meant, where one is; ask for the others by ID."
    )]
    Machine {
        /// Its name or machine ID.
        name: String,
        /// What it said of itself in its last minutes, as others heard it; also of a machine that was replaced.
        #[arg(long)]
        last_words: bool,
    },
    /// Who coordinates, who leads, and how far each has got
    Coordinators,
    /// How every machine feels
    Health,
    /// Why something was done, or was not: evidence, rules, and the one that held
    #[command(
        after_help = "Examples:\n  muster explain web-2      a machine, also one that is gone\n  \
        muster explain db         a group\n  muster explain 17         decision 17"
    )]
    Explain {
        /// The name of a machine, pet or group, or the number of a decision.
        #[arg(value_name = "NAME|DECISION")]
        subject: String,
    },
    /// The last decisions, newest first
    Decisions(DecisionsArgs),
    /// How well healing went: right and wrong actions, missed failures, holds, time to heal
    #[command(
        after_help = "Examples:\n  muster report\n  muster report --since 1d\n  \
        muster report --json | jq '.cases[] | select(.mark == \"wrong\")'\n\n\
        Each machine that failed, or seemed to, is a case. What was done about it, or in mode `observe` and `approve` \
        would have been, is marked against what happened:\n\n  \
        right      the machine had failed: its provisioner proved it, or it was not seen again\n  \
        wrong      the machine was well again without the action\n  \
        missed     it had failed, and a rule held\n  \
        near miss  a rule held, and it was well again; without the rule it would have been replaced\n  \
        spared     it was well again, and nothing was near to being done\n  \
        open       too little is known yet\n\n\
        Precision is how many of the actions were right; recall, for how many of the failures there was one."
    )]
    Report(ReportArgs),
    /// What happened
    #[command(
        after_help = "Examples:\n  muster events --since 10m\n  muster events -f\n  muster events -f --json | jq -r .kind"
    )]
    Events(EventsArgs),
    /// Let a decision that waits for a person be carried out
    #[command(
        after_help = "Decisions wait in groups whose heal mode is `approve`; `muster status` and `muster \
        decisions` show them.\n\n\
        An approval is good for an hour, and for exactly what was asked: this machine, what was found, and what was to \
        be done about it. All other rules are asked again. A number stays good for as long as the same is found and \
        would be done; where things have changed it is refused, and a new decision asks anew.\n\n\
        Examples:\n  muster approve web-2\n  muster approve 17"
    )]
    Approve {
        /// The decision's number, or the name of the machine that it is about.
        #[arg(value_name = "DECISION|NAME")]
        subject: String,
    },
    /// Stop healing and scaling for a while: everything, a group, a zone or a machine
    #[command(
        after_help = "Examples:\n  muster pause --reason 'moving racks' --for 2h\n  \
        muster pause --zone a --reason 'power works' --name power\n  muster pause list\n  muster resume power\n\n\
        What is under way goes on; nothing new is begun. A pause holds by the rule `paused`, with its reason, in \
        `muster status` and `muster explain`."
    )]
    Pause(PauseArgs),
    /// End pauses, and a group's waiting after orders that failed
    #[command(
        after_help = "Examples:\n  muster resume             the fleet's pauses\n  \
        muster resume --zone a    those of zone a\n  muster resume power       the one called power"
    )]
    Resume(ResumeArgs),
    /// Restart a machine's workload, by its flavor
    #[command(after_help = HAND_HELP)]
    Restart(HandArgs),
    /// Restart a machine through its operating system, by its provisioner
    #[command(after_help = HAND_HELP)]
    Reboot(HandArgs),
    /// Take a machine's power away and give it back, by its provisioner
    #[command(after_help = HAND_HELP)]
    PowerCycle(HandArgs),
    /// Drain a machine and write its system anew, by its provisioner; only what is attached stays
    #[command(after_help = HAND_HELP)]
    Reimage(HandArgs),
    /// Have a machine hand over its duties, a coordinator's seat included; it stays cordoned
    #[command(after_help = HAND_HELP)]
    Drain(HandArgs),
    /// Drain and destroy a machine, and make another one in its place; a pet keeps its name and disk
    #[command(after_help = HAND_HELP)]
    Replace(HandArgs),
    /// Take back an order by hand that has not begun
    Cancel {
        /// The order's number, or the name of its machine.
        #[arg(value_name = "ORDER|NAME")]
        subject: String,
    },
    /// How far an order by hand is, and what the rules said to it
    Order {
        /// Its number.
        #[arg(value_parser = order)]
        order: u64,
    },
    /// Leave a machine to people: it is not healed by itself, and gets no coordinator's seat
    #[command(
        after_help = "Examples:\n  muster cordon web-2 --reason 'memory under test'\n  muster uncordon web-2\n\n\
        Scaling in takes cordoned machines first. Orders by hand, such as `muster reboot web-2`, are carried out all the \
        same. `muster drain` cordons too. It holds by the rule `cordoned`, with its reason, in `muster status` and \
        `muster explain`."
    )]
    Cordon {
        /// The machine's name or machine ID.
        name: String,
        /// Why, for those who come later.
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        reason: String,
    },
    /// Let a machine be healed by itself again
    Uncordon {
        /// The machine's name or machine ID.
        name: String,
    },
    /// Release hardware from its quarantine: machines may be made on it again
    #[command(
        after_help = "Hardware on which a machine failed is left out of all that is made until somebody has mended it and says \
        so. `muster status` shows what is in quarantine, and why.\n\nExamples:\n  muster release node-3\n  muster release web-2"
    )]
    Release {
        /// The hardware's name, or that of the machine that failed on it, or its instance's.
        name: String,
    },
    /// Shut a machine out: its certificate is refused from now on, and it is replaced
    Revoke {
        /// Its name or machine ID.
        name: String,
    },
    /// Take a machine off the roster as it is
    #[command(
        after_help = "For a machine that you know to be gone where nobody can prove it. It is neither stopped nor \
        destroyed; its group makes another one. Never use it for a machine that may still run; one that still answers \
        is not forgotten: have it `leave`, `revoke` it, or stop it first."
    )]
    Forget {
        /// Its name or machine ID.
        name: String,
        /// Don't ask. Without a terminal this must be said.
        #[arg(short, long)]
        yes: bool,
    },
    /// Go on without most of the fleet, where it can't do so by itself
    #[command(
        after_help = "Examples:\n  muster recover --dry-run              what is left, and what may be lost\n  \
        muster recover                        the same, then asks\n  muster recover --yes prod --json      for scripts\n\n\
        For a fleet whose coordinators are lost with more than half of its machines, so that nobody is left who could prove \
        that the rest is gone: it holds until it is told. The asked machine founds the log anew with the machines that are \
        there. Those that are not stay on the roster as unaccounted for. They are replaced like any that fails, a pet only \
        once its provisioner proves it off.\n\n\
        The danger: if the missing machines run on somewhere, cut off, both halves act, and a pet may run twice. Make sure \
        first that they are off, above all the former coordinators. Once they meet this log again they stand down."
    )]
    Recover(RecoverArgs),

    /// Show or change what the asked agent logs
    #[command(
        after_help = "Examples:\n  muster log-level\n  muster log-level debug\n  \
        muster log-level info,muster::heal=trace\n\nLasts until the agent restarts."
    )]
    LogLevel {
        /// A level, or directives.
        filter: Option<String>,
    },
    /// The asked agent's metrics, as Prometheus text
    Metrics,

    /// Print a script that completes commands in your shell
    #[command(
        after_help = "Examples:\n  muster completions bash > /etc/bash_completion.d/muster\n  \
        muster completions zsh > ~/.zfunc/_muster\n  muster completions fish > ~/.config/fish/completions/muster.fish"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one page per command
    #[command(
        after_help = "Examples:\n  muster man | man -l -\n  muster man --out /usr/local/share/man/man1"
    )]
    Man {
        /// Write one page per command into this directory.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },

    /// What the agent runs itself.
    #[command(flatten)]
    Hidden(HiddenCommand),
}

/// `muster apply`.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Spec files, TOML or JSON, each with one group or several; `-` is standard input.
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Don't ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Only show what would change.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `muster replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Records, directories of records, or the data directories of machines that have led.
    #[arg(required = true, value_name = "DIR|FILE")]
    pub(crate) paths: Vec<PathBuf>,
    /// What if a rule had been another.
    #[arg(long, value_name = "[GROUP.]RULE=VALUE")]
    pub(crate) with: Vec<Change>,
}

/// `muster lint`.
#[derive(Debug, Args)]
pub(crate) struct LintArgs {
    /// Spec files, TOML or JSON; `-` is standard input.
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Fail for warnings too.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// `muster recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// Only show what is left, and what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Don't ask: the cluster's name, which you would be asked to type.
    #[arg(long, value_name = "CLUSTER", conflicts_with = "dry_run")]
    pub(crate) yes: Option<String>,
    /// You have made sure that the missing machines are off, also where something speaks against it.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) they_are_off: bool,
}

/// `muster status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Exit with 4, and say why, unless all is as it should be.
    #[arg(long)]
    pub(crate) check: bool,
    /// Show it live.
    #[arg(short, long, conflicts_with_all = ["check", "json"])]
    pub(crate) watch: bool,
}

/// `muster events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on with what happens next.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what happened within this time.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) since: Option<Duration>,
    /// Only the last so many; with -f 10 unless told.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) limit: Option<u32>,
}

/// `muster report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Only cases that were open within this time; all that are remembered unless told.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) since: Option<Duration>,
}

/// `muster decisions`.
#[derive(Debug, Args)]
pub(crate) struct DecisionsArgs {
    /// Only those about this machine.
    #[arg(long, value_name = "NAME")]
    pub(crate) machine: Option<String>,
    /// Only those about this group.
    #[arg(long, value_name = "ID")]
    pub(crate) group: Option<String>,
    /// At most so many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
}
