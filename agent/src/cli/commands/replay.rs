//! `muster replay`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Context, Failure};
use crate::cli::args::ReplayArgs;
use crate::cli::show;
use crate::fleet::{Outcome, Proposal};
use crate::node::recorder::{DIRECTORY, RECORD, files};
use crate::replay::{Again, Change, Recorded};

/// One record, decided again.
#[derive(Debug, Serialize)]
pub(crate) struct Replayed {
    /// The file.
    pub(crate) file: String,
    /// When it was decided, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Who decided.
    pub(crate) leader: String,
    /// The leader's version of muster.
    pub(crate) agent: String,
    /// What was decided, a line each.
    pub(crate) decided: Vec<Decided>,
    /// Whether the rules of this version give the same bytes; or, with the changes that were asked for, decide the same.
    pub(crate) same: bool,
    /// What they give otherwise.
    pub(crate) differences: Vec<Otherwise>,
}

/// What was decided about a machine or a group.
#[derive(Debug, Serialize)]
pub(crate) struct Decided {
    /// Its name.
    pub(crate) name: String,
    /// In words.
    pub(crate) outcome: String,
}

/// What would be decided otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct Otherwise {
    /// The name of the machine or group.
    pub(crate) name: String,
    /// What was decided, in words.
    pub(crate) was: String,
    /// What would be.
    pub(crate) is: String,
}

pub(super) fn run(context: &Context<'_>, args: &ReplayArgs) -> Result<(), Failure> {
    let mut records = Vec::new();
    for path in paths(&args.paths)? {
        let recorded = read(&path)?;
        records.push((path, recorded));
    }
    ensure_known(&args.with, records.iter().map(|(_, recorded)| recorded))?;
    let again = records.iter();
    let replayed: Vec<_> = again
        .map(|(path, recorded)| replay(path, recorded, &args.with))
        .collect();
    let changed = !args.with.is_empty();
    context.out.either(&replayed, |replayed, out| {
        show::replayed(replayed, changed, out)
    })?;
    let other = replayed.iter().filter(|one| !one.same).count();
    if other > 0 && !changed {
        return Err(Failure::other(format!(
            "{} of {} decided otherwise: another version of the rules, or a defect",
            other,
            crate::fleet::count(replayed.len(), "record")
        )));
    }
    Ok(())
}

/// Refuses another rule for a group that no record knows: it would change nothing, and look as if it made no difference.
fn ensure_known<'a>(
    changes: &[Change],
    records: impl Iterator<Item = &'a Recorded>,
) -> Result<(), Failure> {
    let groups: BTreeSet<_> = records.flat_map(|one| one.state.groups.keys()).collect();
    let mut named = changes.iter().filter_map(Change::group);
    match named.find(|id| !groups.contains(id)) {
        None => Ok(()),
        Some(id) => {
            let known: Vec<_> = groups.iter().map(|id| id.as_str()).collect();
            Err(Failure::usage(
                format!("no record has a group `{id}`"),
                format!("they have: {}", known.join(", ")),
            ))
        }
    }
}

/// The files that are meant: a file itself, or all records of a directory or of an agent's state directory. Of several
/// directories some may have none: only leaders record.
fn paths(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = Vec::new();
    let mut empty = None;
    for path in given {
        if !path.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let found = [path.clone(), path.join(DIRECTORY)]
            .iter()
            .flat_map(|dir| files(dir))
            .collect::<Vec<_>>();
        if found.is_empty() {
            empty = Some(path);
        }
        paths.extend(found.into_iter().map(|(_, path)| path));
    }
    match empty.filter(|_| paths.is_empty()) {
        None => Ok(paths),
        Some(path) => Err(Failure::usage(
            format!("{} has no records of decisions", path.display()),
            format!(
                "name the data directory of a machine that has led, its `{DIRECTORY}`, or a file from there"
            ),
        )),
    }
}

fn read(path: &Path) -> Result<Recorded, Failure> {
    let content = RECORD
        .read(path)
        .map_err(|error| Failure::Other(error.into()))?;
    let content =
        content.ok_or_else(|| Failure::other(format!("{} does not exist", path.display())))?;
    Recorded::decode(&content).map_err(|error| {
        let error = RECORD.damaged(path, error.to_string());
        Failure::Other(error.into())
    })
}

fn replay(path: &Path, recorded: &Recorded, changes: &[Change]) -> Replayed {
    let Again { same, differences } = recorded.with(changes);
    let decided = |proposal: &Proposal| Decided {
        name: recorded.name(&proposal.subject),
        outcome: in_words(Some(&proposal.outcome)),
    };
    let leader = crate::fleet::Subject::Machine(recorded.situation.leader);
    Replayed {
        file: path.display().to_string(),
        at_ms: recorded.situation.now_ms,
        leader: recorded.name(&leader),
        agent: recorded.agent.clone(),
        decided: recorded.proposals().iter().map(decided).collect(),
        same: same || !changes.is_empty() && differences.is_empty(),
        differences: differences
            .iter()
            .map(|difference| Otherwise {
                name: recorded.name(&difference.subject),
                was: in_words(difference.was.as_ref()),
                is: in_words(difference.is.as_ref()),
            })
            .collect(),
    }
}

fn in_words(outcome: Option<&Outcome>) -> String {
    match outcome {
        None => "nothing new".to_owned(),
        Some(Outcome::Act { action, .. }) => action.to_string(),
        Some(Outcome::Hold { rule, detail, .. }) => format!("held by {rule}: {detail}"),
        Some(Outcome::Observe { would }) => format!("only observed, would {would}"),
        Some(Outcome::AwaitApproval { would }) => format!("waits for approval to {would}"),
        Some(Outcome::Clear) => "over".to_owned(),
    }
}
