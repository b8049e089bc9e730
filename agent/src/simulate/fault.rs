//! What can happen to a fleet, and how people write it: `zone:a@10m+5m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::fleet::{Rule, Would};

/// Something that happens to the fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// To which machines. Nobody for faults of the provider.
    pub target: Target,
    /// How long after the beginning.
    pub at: Duration,
    /// For how long, where it ends by itself; `None` lasts to the end.
    pub lasts: Option<Duration>,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FaultKind {
    /// The machine is gone, and its provider knows it: stopped, terminated, its process killed.
    Kill,
    /// The machine falls silent while its provider says that it runs: a power cut, a kernel that hangs.
    Silence,
    /// The agent ends; its host answers that nothing listens. It starts again when the fault ends.
    Crash,
    /// The machine stands still, and goes on when the fault ends.
    Pause,
    /// Cut off from all others until the fault ends.
    Partition,
    /// No packet reaches it; its own reach everybody.
    Deaf,
    /// None of its packets reaches anybody; those of others reach it.
    Mute,
    /// Its agent hangs, or gets no CPU: the mesh hears nothing from it, and its port answers. It goes on when the fault ends.
    Hang,
    /// It says that something is the matter with it, and works.
    Complains(Complaint),
    /// It announces that it will be back when the fault ends, and goes.
    Reboot,
    /// Its provider says that there is no such instance, whatever is true.
    Disowned,
    /// Its clock is ahead by so much.
    ClockAhead(Duration),
    /// Its clock is behind by so much.
    ClockBehind(Duration),
    /// Its clocks go faster by this share: also the one that leases are counted by.
    ClockFast(f64),
    /// Its clocks go slower by this share.
    ClockSlow(f64),
    /// A person asks for something to be done to it, and may force a rule.
    Order {
        /// What is to be done.
        what: Would,
        /// The rule that is not to stop it.
        force: Option<Rule>,
    },
    /// A person cordons it.
    Cordon,
    /// It says goodbye and goes for good.
    Leave,
    /// It loses this share of its packets, in both directions.
    Loss(f64),
    /// Its disk is full: what it may not forget it can't promise, so it neither votes nor acknowledges.
    DiskFull,
    /// Its agent ends, and the last of its log did not get to the disk. It says so when it starts again, and is no
    /// coordinator any more.
    Torn,
    /// Its workload fails until it is restarted, or the fault ends.
    Workload,
    /// Its health check says that its workload fails, though it does not, until the fault ends.
    HealthCheck,
    /// The provider answers no call.
    ProviderDown,
    /// The provider answers each call so much later.
    ProviderSlow(Duration),
    /// The provider takes calls, answers none, and carries them out when the fault ends.
    ProviderLate,
    /// The provider fails this share of its calls.
    ProviderErrors(f64),
}

/// What a machine says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Its file system refuses writes.
    ReadOnly,
    /// Its memory ran out.
    OutOfMemory,
}

impl Complaint {
    /// What it says, as the machine's health does.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::ReadOnly => "the data directory's file system is read-only",
            Self::OutOfMemory => "memory ran out, and the kernel ended something",
        }
    }
}

impl FaultKind {
    /// Whether it concerns the provider, and so no machine in particular.
    pub fn is_the_providers(self) -> bool {
        matches!(
            self,
            Self::ProviderDown
                | Self::ProviderSlow(_)
                | Self::ProviderLate
                | Self::ProviderErrors(_)
        )
    }

    /// Whether it is what a person asks for, and nothing that goes wrong.
    pub fn is_by_hand(&self) -> bool {
        matches!(self, Self::Order { .. } | Self::Cordon)
    }

    /// Whether it never ends: a machine that is gone stays so, and what a person asks for has its own end.
    pub fn is_for_good(self) -> bool {
        matches!(self, Self::Kill | Self::Leave | Self::Order { .. })
    }

    /// How long it lasts where that is not said: for ever, except for what would otherwise be another fault.
    pub fn lasts_by_default(self) -> Option<Duration> {
        match self {
            Self::Pause | Self::Crash | Self::Torn | Self::Hang | Self::Reboot => {
                Some(Duration::from_secs(60))
            }
            _ => None,
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("killed"),
            Self::Silence => f.write_str("silenced"),
            Self::Crash => f.write_str("crashed"),
            Self::Pause => f.write_str("paused"),
            Self::Partition => f.write_str("cut off"),
            Self::Deaf => f.write_str("deaf"),
            Self::Mute => f.write_str("mute"),
            Self::DiskFull => f.write_str("out of disk"),
            Self::Torn => f.write_str("crashed with a torn log"),
            Self::Workload => f.write_str("failing at work"),
            Self::HealthCheck => f.write_str("called ill by a bad check"),
            Self::Hang => f.write_str("hanging"),
            Self::Complains(complaint) => write!(f, "saying: {}", complaint.words()),
            Self::Reboot => f.write_str("rebooting as announced"),
            Self::Disowned => f.write_str("disowned by the provider"),
            Self::ClockAhead(by) => write!(
                f,
                "with a clock ahead by {}",
                humantime::format_duration(*by)
            ),
            Self::ClockBehind(by) => write!(
                f,
                "with a clock behind by {}",
                humantime::format_duration(*by)
            ),
            Self::ClockFast(share) => write!(f, "with a clock fast by {}", Percent(*share)),
            Self::ClockSlow(share) => write!(f, "with a clock slow by {}", Percent(*share)),
            Self::Order { what, force: None } => write!(f, "ordered: {what} it"),
            Self::Order {
                what,
                force: Some(rule),
            } => {
                write!(f, "ordered: {what} it, forcing {rule}")
            }
            Self::Cordon => f.write_str("cordoned"),
            Self::Leave => f.write_str("left"),
            Self::Loss(share) => write!(f, "losing {}", Percent(*share)),
            Self::ProviderDown => f.write_str("provider down"),
            Self::ProviderSlow(by) => {
                write!(f, "provider slow by {}", humantime::format_duration(*by))
            }
            Self::ProviderLate => f.write_str("provider late"),
            Self::ProviderErrors(share) => write!(f, "provider fails {}", Percent(*share)),
        }
    }
}

/// Which machines.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Nobody in particular.
    Nobody,
    /// All.
    All,
    /// Those of a zone.
    Zone(String),
    /// Those of a group.
    Group(String),
    /// The one of this name, whichever machine has it then.
    Name(String),
    /// Whoever leads then.
    Leader,
    /// The coordinators of that time.
    Coordinators,
    /// So many, drawn by the seed.
    Any(u32),
    /// A share of all, drawn by the seed.
    Share(f64),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => Ok(()),
            Self::All => f.write_str("all"),
            Self::Zone(zone) => write!(f, "zone:{zone}"),
            Self::Group(group) => write!(f, "group:{group}"),
            Self::Name(name) => f.write_str(name),
            Self::Leader => f.write_str("leader"),
            Self::Coordinators => f.write_str("coordinators"),
            Self::Any(count) => write!(f, "any:{count}"),
            Self::Share(share) => write!(f, "{}", Percent(*share)),
        }
    }
}

/// A text that does not say what happens, with what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseFaultError(String);

fn wrong<T>(what: impl Into<String>) -> Result<T, ParseFaultError> {
    Err(ParseFaultError(what.into()))
}

impl FromStr for Target {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, ParseFaultError> {
        match text.split_once(':') {
            Some((_, "")) => wrong(format!("`{text}` names nothing behind the colon")),
            Some(("zone", zone)) => Ok(Self::Zone(zone.to_owned())),
            Some(("group", group)) => Ok(Self::Group(group.to_owned())),
            Some(("any", count)) => match count.parse() {
                Ok(count) if count > 0 => Ok(Self::Any(count)),
                _ => wrong(format!("`{count}` is no number of machines; write any:3")),
            },
            Some((kind, _)) => wrong(format!(
                "there is nothing like `{kind}:`; write zone:NAME, group:NAME or any:NUMBER"
            )),
            None if text.ends_with('%') => Ok(Self::Share(text.parse::<Percent>()?.0)),
            None => match text {
                "" => wrong(
                    "name the machines: zone:a, group:web, web-3, leader, coordinators, any:3, 10% or all",
                ),
                "all" => Ok(Self::All),
                "leader" => Ok(Self::Leader),
                "coordinators" => Ok(Self::Coordinators),
                name => Ok(Self::Name(name.to_owned())),
            },
        }
    }
}

/// Whom and when: `TARGET@AT` or `TARGET@AT+FOR`, with times like `90s` or `10m`.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    /// Which machines.
    pub target: Target,
    /// How long after the beginning.
    pub at: Duration,
    /// For how long, if that is said.
    pub lasts: Option<Duration>,
}

impl Occasion {
    /// The fault of this kind on this occasion.
    pub fn of(self, kind: FaultKind) -> Fault {
        Fault {
            kind,
            target: self.target,
            at: self.at,
            lasts: self.lasts.or(kind.lasts_by_default()),
        }
    }
}

impl FromStr for Occasion {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, ParseFaultError> {
        let Some((target, times)) = text.rsplit_once('@') else {
            return wrong(format!(
                "`{text}` does not say when; write for example {text}@10m"
            ));
        };
        let moment = times.parse::<Moment>()?;
        Ok(Self {
            target: target.parse()?,
            at: moment.at,
            lasts: moment.lasts,
        })
    }
}

/// When, and for how long: `10m`, or `10m+90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// How long after the beginning.
    pub at: Duration,
    /// For how long, if that is said.
    pub lasts: Option<Duration>,
}

impl FromStr for Moment {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, ParseFaultError> {
        let (at, lasts) = match text.split_once('+') {
            Some((at, lasts)) => (at, Some(lasts)),
            None => (text, None),
        };
        Ok(Self {
            at: time(at)?,
            lasts: lasts.map(time).transpose()?,
        })
    }
}

fn time(text: &str) -> Result<Duration, ParseFaultError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let longest = super::scenario::LENGTH_MAX;
    match humantime::parse_duration(text) {
        Ok(time) if time <= longest => Ok(time),
        Ok(_) => wrong(format!(
            "`{text}` is longer than a week, the longest simulation"
        )),
        Err(error) => wrong(format!(
            "`{text}` is no time ({error}); write for example 90s or 10m"
        )),
    }
}

/// A share, written `5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percent(pub f64);

impl FromStr for Percent {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, ParseFaultError> {
        let number = text.strip_suffix('%').unwrap_or(text);
        match number.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self(percent / 100.0)),
            _ => wrong(format!("`{text}` is no share; write for example 5%")),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 * 1000.0).round() / 10.0)
    }
}
