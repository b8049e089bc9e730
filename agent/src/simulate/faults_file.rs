//! Faults as a file: TOML, validated whole, each problem with its line and field.
//!
//! ```toml
//! [[fault]]
//! kind = "partition"
//! target = "zone:a"
//! at = "10m"
//! for = "5m"
//! ```

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use super::fault::{Complaint, Fault, FaultKind, Moment, ParseFaultError, Percent, Target};
use super::scenario::FAULTS_MAX;
use crate::fleet::{Rule, Rung, Would};

/// The kinds of faults, as they are written.
const KINDS: [&str; 28] = [
    "kill",
    "silence",
    "crash",
    "pause",
    "hang",
    "reboot",
    "read-only",
    "out-of-memory",
    "clock-ahead",
    "clock-behind",
    "clock-fast",
    "clock-slow",
    "order",
    "cordon",
    "disowned",
    "partition",
    "deaf",
    "mute",
    "disk-full",
    "torn",
    "workload",
    "health-check",
    "leave",
    "loss",
    "provider-down",
    "provider-slow",
    "provider-late",
    "provider-errors",
];

/// What a person may ask for, as it is written.
const ORDERS: [(&str, Would); 6] = [
    ("restart", Would::Treat(Rung::RestartWorkload)),
    ("reboot", Would::Treat(Rung::Reboot)),
    ("power-cycle", Would::Treat(Rung::PowerCycle)),
    ("reimage", Would::Treat(Rung::Reimage)),
    ("drain", Would::Drain),
    ("replace", Would::Replace),
];

/// What some kinds need besides: a share, how long, what is ordered, and which rule is forced.
type Measures = (Option<Percent>, Option<Moment>, Option<Would>, Option<Rule>);

/// Something that is wrong with a file of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultsProblem {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The field, as in `fault[2].at`; empty for the file as a whole.
    pub field: String,
    /// What is wrong, and what to write.
    pub what: String,
}

impl fmt::Display for FaultsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.what)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    fault: Vec<Spanned<Written>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Spanned<String>,
    target: Option<Spanned<String>>,
    at: Spanned<String>,
    r#for: Option<Spanned<String>>,
    share: Option<Spanned<String>>,
    by: Option<Spanned<String>>,
    what: Option<Spanned<String>>,
    force: Option<Spanned<String>>,
}

/// Reads a file of faults. Pure.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_faults(file: &str, text: &str) -> Result<Vec<Fault>, Vec<FaultsProblem>> {
    let mut reader = Reader {
        file,
        text,
        problems: Vec::new(),
    };
    let written: File = match toml::from_str(text) {
        Ok(written) => written,
        Err(error) => {
            let what = error.message().to_owned();
            reader.problem(error.span().unwrap_or(0..0), "", what);
            return Err(reader.problems);
        }
    };
    if written.fault.is_empty() {
        let what = "there is no fault in it; write [[fault]] with kind, target and at";
        reader.problem(0..0, "", what.to_owned());
    }
    if written.fault.len() > FAULTS_MAX {
        let what = format!(
            "{} faults are too many; at most {FAULTS_MAX} are simulated",
            written.fault.len()
        );
        reader.problem(0..0, "fault", what);
    }
    let mut faults = Vec::new();
    for (index, fault) in written.fault.iter().enumerate() {
        faults.extend(reader.fault(index, fault));
    }
    if reader.problems.is_empty() {
        Ok(faults)
    } else {
        Err(reader.problems)
    }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    problems: Vec<FaultsProblem>,
}

impl Reader<'_> {
    fn problem(&mut self, span: Range<usize>, field: &str, what: String) {
        let before = self.text.get(..span.start).unwrap_or_default();
        let whole = field.is_empty() && span == (0..0);
        self.problems.push(FaultsProblem {
            file: self.file.to_owned(),
            line: if whole {
                0
            } else {
                before.matches('\n').count() + 1
            },
            field: field.to_owned(),
            what,
        });
    }

    fn fault(&mut self, index: usize, written: &Spanned<Written>) -> Option<Fault> {
        let name = |field: &str| format!("fault[{index}].{field}");
        let written_span = written.span();
        let written = written.get_ref();
        let share = self.parse::<Percent>(&name("share"), written.share.as_ref());
        let by = self.parse::<Moment>(&name("by"), written.by.as_ref());
        let what = self.word(&name("what"), written.what.as_ref(), &ORDERS);
        let rules = Rule::ORDER.map(|rule| (rule.word(), rule));
        let force = self.word(&name("force"), written.force.as_ref(), &rules);
        let kind = self.kind(&name, written, (share, by, what, force));
        let moment = |reader: &mut Self, field: &str, value: Option<&Spanned<String>>| {
            let moment: Moment = reader.parse(&name(field), value)?;
            if moment.lasts.is_some() {
                let what = "write how long in `for`".to_owned();
                reader.problem(value?.span(), &name(field), what);
            }
            Some(moment.at)
        };
        let at = moment(self, "at", Some(&written.at));
        let lasts = moment(self, "for", written.r#for.as_ref());
        let target = self.parse::<Target>(&name("target"), written.target.as_ref());
        let kind = kind?;
        let target = match (target, &written.target) {
            (_, Some(target)) if kind.is_the_providers() => {
                let what = format!("{} concerns no machine; remove it", written.kind.get_ref());
                self.problem(target.span(), &name("target"), what);
                None
            }
            (None, None) if kind.is_the_providers() => Some(Target::Nobody),
            (None, None) => {
                let what = "name the machines: target = \"zone:a\"".to_owned();
                self.problem(written_span, &name("target"), what);
                None
            }
            (target, _) => target,
        };
        Some(Fault {
            kind,
            target: target?,
            at: at?,
            lasts: lasts.or(kind.lasts_by_default()),
        })
    }

    fn kind(
        &mut self,
        name: &dyn Fn(&str) -> String,
        written: &Written,
        (share, by, what, force): Measures,
    ) -> Option<FaultKind> {
        let kind = written.kind.get_ref().as_str();
        let shares = ["loss", "provider-errors", "clock-fast", "clock-slow"];
        let lengths = ["provider-slow", "clock-ahead", "clock-behind"];
        let forced = kind == "order" && written.force.is_some();
        let measures = [
            ("share", &written.share, shares.contains(&kind), "30%"),
            ("by", &written.by, lengths.contains(&kind), "15s"),
            ("what", &written.what, kind == "order", "reboot"),
            ("force", &written.force, forced, "budget"),
        ];
        for (field, value, needed, example) in measures {
            match (value, needed) {
                (None, true) => {
                    let what = format!("{kind} needs one: {field} = \"{example}\"");
                    self.problem(written.kind.span(), &name(field), what);
                }
                (Some(value), false) => {
                    let what = format!("{kind} has none; remove it");
                    self.problem(value.span(), &name(field), what);
                }
                _ => {}
            }
        }
        let share = share.map_or(0.0, |share| share.0);
        Some(match kind {
            "kill" => FaultKind::Kill,
            "silence" => FaultKind::Silence,
            "crash" => FaultKind::Crash,
            "pause" => FaultKind::Pause,
            "partition" => FaultKind::Partition,
            "deaf" => FaultKind::Deaf,
            "mute" => FaultKind::Mute,
            "disk-full" => FaultKind::DiskFull,
            "torn" => FaultKind::Torn,
            "workload" => FaultKind::Workload,
            "health-check" => FaultKind::HealthCheck,
            "hang" => FaultKind::Hang,
            "reboot" => FaultKind::Reboot,
            "read-only" => FaultKind::Complains(Complaint::ReadOnly),
            "out-of-memory" => FaultKind::Complains(Complaint::OutOfMemory),
            "clock-ahead" => FaultKind::ClockAhead(by?.at),
            "clock-behind" => FaultKind::ClockBehind(by?.at),
            "clock-fast" => FaultKind::ClockFast(share),
            "clock-slow" => FaultKind::ClockSlow(share),
            "order" => FaultKind::Order { what: what?, force },
            "cordon" => FaultKind::Cordon,
            "disowned" => FaultKind::Disowned,
            "leave" => FaultKind::Leave,
            "loss" => FaultKind::Loss(share),
            "provider-down" => FaultKind::ProviderDown,
            "provider-slow" => FaultKind::ProviderSlow(by?.at),
            "provider-late" => FaultKind::ProviderLate,
            "provider-errors" => FaultKind::ProviderErrors(share),
            other => {
                let what = format!(
                    "there is no fault `{other}`; write one of {}",
                    KINDS.join(", ")
                );
                self.problem(written.kind.span(), &name("kind"), what);
                return None;
            }
        })
    }

    /// One of a few words, by what it stands for.
    fn word<T: Copy>(
        &mut self,
        field: &str,
        value: Option<&Spanned<String>>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let value = value?;
        let known = words.iter().find(|(word, _)| word == value.get_ref());
        if known.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let what = format!(
                "there is no `{}`; write one of {}",
                value.get_ref(),
                words.join(", ")
            );
            self.problem(value.span(), field, what);
        }
        known.map(|(_, meaning)| *meaning)
    }

    fn parse<T: FromStr<Err = ParseFaultError>>(
        &mut self,
        field: &str,
        value: Option<&Spanned<String>>,
    ) -> Option<T> {
        let value = value?;
        match value.get_ref().parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.problem(value.span(), field, error.to_string());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_says_what_happens_when_and_for_how_long() {
        let text = r#"
[[fault]]
kind = "partition"
target = "zone:a"
at = "10m"
for = "5m"

[[fault]]
kind = "loss"
target = "any:3"
at = "0"
share = "30%"

[[fault]]
kind = "provider-down"
at = "20m"
"#;
        let faults = read_faults("faults.toml", text).expect("it is right");
        assert_eq!(faults[0].target, Target::Zone("a".into()));
        assert_eq!(faults[0].lasts, Some(Duration::from_secs(300)));
        assert_eq!(faults[1].kind, FaultKind::Loss(0.3));
        assert_eq!(
            (&faults[2].target, faults[2].lasts),
            (&Target::Nobody, None)
        );
    }

    #[test]
    fn orders_say_what_is_to_be_done_and_which_rule_is_forced() {
        let order = |fields: &str| {
            let text =
                format!("[[fault]]\nkind = \"order\"\ntarget = \"web-1\"\nat = \"1m\"\n{fields}");
            read_faults("f", &text)
        };
        let faults = order("what = \"replace\"\nforce = \"budget\"\n").expect("it is right");
        let (what, force) = (Would::Replace, Some(Rule::Budget));
        assert_eq!(faults[0].kind, FaultKind::Order { what, force });
        let field = |fields: &str| order(fields).expect_err("it is wrong")[0].field.clone();
        assert_eq!(field(""), "fault[0].what");
        assert_eq!(field("what = \"kick\"\n"), "fault[0].what");
        assert_eq!(
            field("what = \"drain\"\nforce = \"luck\"\n"),
            "fault[0].force"
        );
        let kill =
            "[[fault]]\nkind = \"kill\"\ntarget = \"web-1\"\nat = \"1m\"\nforce = \"budget\"\n";
        let problems = read_faults("f", kill).expect_err("nothing is forced by it");
        assert_eq!(problems[0].field, "fault[0].force");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_with_its_line_and_field() {
        let text = "[[fault]]\nkind = \"kil\"\ntarget = \"zone:\"\nat = \"soon\"\n\n[[fault]]\nkind = \"loss\"\nat = \"1m+1m\"\n\
                    \n[[fault]]\nkind = \"provider-down\"\ntarget = \"all\"\nat = \"9000d\"\nshare = \"200%\"\n";
        let problems = read_faults("f", text).expect_err("all of it is wrong");
        let places: Vec<_> = problems
            .iter()
            .map(|problem| (problem.line, problem.field.as_str()))
            .collect();
        for place in [
            (2, "fault[0].kind"),
            (3, "fault[0].target"),
            (4, "fault[0].at"),
            (7, "fault[1].share"),
            (8, "fault[1].at"),
            (12, "fault[2].target"),
            (13, "fault[2].at"),
            (14, "fault[2].share"),
        ] {
            assert!(places.contains(&place), "{place:?} is not in {problems:?}");
        }
        let empty = read_faults("f", "").expect_err("nothing is no file of faults");
        assert_eq!(empty[0].line, 0);
        let unknown = read_faults("f", "[[fault]]\nkind = \"kill\"\nwhen = \"1m\"\n")
            .expect_err("unknown key");
        assert!(unknown[0].to_string().starts_with("f:3: "), "{unknown:?}");
    }
}
