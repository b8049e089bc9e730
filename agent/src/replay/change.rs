//! Another rule for a group, as people write it: `budget=2`, `web.mode=observe`, `grace=10s`.

use std::str::FromStr;

use crate::fleet::{BudgetPolicy, FleetState, GroupId, HealMode, HealPolicy};

/// Another rule for one group, or for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which group; all when absent.
    group: Option<GroupId>,
    rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Mode(HealMode),
    AtOnce(u32),
    PerHour(u32),
    UnreachableAfter(u64),
    BootGrace(u64),
    ChangeGrace(u64),
}

/// A text that is no such change, with what is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseChangeError(String);

impl FromStr for Change {
    type Err = ParseChangeError;

    fn from_str(text: &str) -> Result<Self, ParseChangeError> {
        let wrong = |what: String| Err(ParseChangeError(what));
        let Some((key, value)) = text.split_once('=') else {
            return wrong(format!(
                "`{text}` says no value; write for example budget=2 or web.mode=observe"
            ));
        };
        let (group, key) = match key.rsplit_once('.') {
            Some((group, key)) => match GroupId::new(group) {
                Ok(group) => (Some(group), key),
                Err(error) => return wrong(error.to_string()),
            },
            None => (None, key),
        };
        let rule = match key {
            "mode" => Rule::Mode(match value {
                "auto" => HealMode::Auto,
                "approve" => HealMode::Approve,
                "observe" => HealMode::Observe,
                _ => {
                    return wrong(format!(
                        "`{value}` is no mode; write auto, approve or observe"
                    ));
                }
            }),
            "budget" | "at_once" => Rule::AtOnce(number(value)?),
            "per_hour" => Rule::PerHour(number(value)?),
            "grace" | "unreachable_after" => Rule::UnreachableAfter(duration(value)?),
            "boot_grace" => Rule::BootGrace(duration(value)?),
            "change_grace" => Rule::ChangeGrace(duration(value)?),
            _ => {
                return wrong(format!(
                    "there is no rule `{key}`; write budget, per_hour, grace, boot_grace, change_grace or mode"
                ));
            }
        };
        Ok(Self { group, rule })
    }
}

fn number(text: &str) -> Result<u32, ParseChangeError> {
    let wrong = |_| {
        ParseChangeError(format!(
            "`{text}` is no number of machines; write for example 2"
        ))
    };
    text.parse().map_err(wrong)
}

fn duration(text: &str) -> Result<u64, ParseChangeError> {
    match humantime::parse_duration(text) {
        Ok(duration) => Ok(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        Err(error) => Err(ParseChangeError(format!(
            "`{text}` is no time ({error}); write for example 30s"
        ))),
    }
}

impl Change {
    /// The group that it is about; `None` for all.
    pub fn group(&self) -> Option<&GroupId> {
        self.group.as_ref()
    }

    /// Changes the groups that it is about. Their buckets are full where the hour's budget changes: what would have been
    /// spent under it nobody knows.
    pub(super) fn make(&self, state: &mut FleetState) {
        let clock_ms = state.clock_ms;
        for (id, group) in &mut state.groups {
            if self.group.as_ref().is_some_and(|only| only != id) {
                continue;
            }
            self.rule.apply(&mut group.spec.heal);
            if let Rule::PerHour(per_hour) = self.rule {
                group.bucket = crate::fleet::Bucket::full(per_hour, clock_ms);
            }
        }
    }
}

impl Rule {
    fn apply(self, heal: &mut HealPolicy) {
        let budget: &mut BudgetPolicy = &mut heal.budget;
        match self {
            Self::Mode(mode) => heal.mode = mode,
            Self::AtOnce(count) => budget.at_once = Some(count),
            Self::PerHour(count) => budget.per_hour = Some(count),
            Self::UnreachableAfter(ms) => heal.unreachable_after_ms = ms,
            Self::BootGrace(ms) => heal.boot_grace_ms = ms,
            Self::ChangeGrace(ms) => heal.change_grace_ms = ms,
        }
    }
}
