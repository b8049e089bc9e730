//! Making a member ready to start: with its data, as one of the founders, or beside the others.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use muster_provisioners::Deadline;

use super::config::Config;
use super::jute;
use super::members::Members;
use crate::run::CommandLine;
use crate::server::Server;
use crate::{FlavorError, Role, Workload, majority};

/// How long is waited before the others are asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one of the others may take to change their list, before another one is asked.
const CHANGE: Duration = Duration::from_secs(10);
/// The file with the list of servers beside `zoo.cfg`. ZooKeeper writes a new one for each change, with its version at the end.
const LIST: &str = "cfg.dynamic";

/// What a member finds when it is to start.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    /// Whether it has data.
    data: bool,
    /// How often it was started in vain since it last was at work.
    vain_starts: u32,
    /// Whether it is on record that there is an ensemble.
    founded: bool,
    /// What the others say; `None` where none of them answers.
    others: Option<&'a View>,
    /// Its number.
    id: u8,
    /// Its host.
    host: &'a str,
}

/// What the others say of the ensemble.
#[derive(Debug, Clone, Default, PartialEq)]
struct View {
    /// The list of one that serves.
    members: Members,
    /// How many of the others have a vote and serve.
    at_work: usize,
}

/// How a member starts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Begin {
    /// With its data.
    AsItIs,
    /// As one of those that found the ensemble.
    Founding,
    /// Without a vote and with the others' list: what it has is put aside, and it gets theirs.
    Beside,
    /// The same, once the others have removed it from their list.
    Removed,
    /// Not now, and why.
    Not(&'static str),
}

/// Pure.
///
/// One that starts with nothing has forgotten what it agreed to, so it must not have a vote until it has what the others have:
/// with one of them that lags behind it would be a majority that does not know of all that was acknowledged. While the others
/// are a majority without it, they can remove it first, and whatever was ever acknowledged is with them.
fn decide(found: Found<'_>) -> Begin {
    let others = found
        .others
        .filter(|view| view.at_work >= majority(view.members.voters()));
    match (found.data, others) {
        (_, Some(view)) if !view.members.has(found.id) => Begin::Beside,
        (true, Some(_)) if found.vain_starts == 0 => Begin::AsItIs,
        (_, Some(view)) if view.members.at(found.host) == Some(found.id) => Begin::Removed,
        (_, Some(_)) => Begin::Not("its number is on the others' list with another host"),
        (true, None) => Begin::AsItIs,
        (false, None) if found.founded => {
            Begin::Not("the ensemble was founded, and the others have no majority without it")
        }
        (false, None) if found.others.is_some_and(|view| view.at_work > 0) => {
            Begin::Not("the others serve, and are no majority without it")
        }
        (false, None) => Begin::Founding,
    }
}

/// Makes everything ready, and gives the command.
pub(super) async fn ready(
    config: &Config,
    server: &Server,
    workload: &Workload,
    deadline: Deadline,
) -> Result<CommandLine, FlavorError> {
    if let Some(problem) = config.hosts.undeclared(&workload.member) {
        return Err(FlavorError::failed(
            "starting ZooKeeper",
            problem.to_string(),
        ));
    }
    loop {
        match attempt(config, server, workload, deadline).await {
            Ok(command) => {
                server.begins()?;
                return Ok(command);
            }
            Err(error) => {
                tracing::info!(%error, "ZooKeeper can't start yet");
                if !deadline.sleep(PAUSE).await {
                    return Err(error);
                }
            }
        }
    }
}

async fn attempt(
    config: &Config,
    server: &Server,
    workload: &Workload,
    deadline: Deadline,
) -> Result<CommandLine, FlavorError> {
    let me = workload.member.as_str();
    let view = ask_others(config, me).await;
    let begin = decide(Found {
        data: has_data(server)?,
        vain_starts: server.vain_starts(),
        founded: workload.founded,
        others: view.as_ref(),
        id: config.id(me)?,
        host: &config.host(me),
    });
    tracing::info!(?begin, "ZooKeeper is to start");
    let list = match begin {
        Begin::AsItIs => last_list(server)?,
        Begin::Founding => {
            let members = config.hosts.iter();
            let lines: Result<Vec<_>, _> = members.map(|(member, _)| config.line(member)).collect();
            Some(new_list(server, &lines?)?)
        }
        Begin::Beside => {
            server.put_aside()?;
            let view = view.unwrap_or_default();
            let mut lines: Vec<_> = view.members.lines().map(str::to_owned).collect();
            // Without a vote until the others have added it: joiners must not be able to form a majority of their own.
            lines.push(config.line_as(me, "observer")?);
            server.write(super::JOINS, "")?;
            Some(new_list(server, &lines)?)
        }
        Begin::Removed => {
            removed(config, me, deadline).await?;
            let why = "they have removed it, and are asked for their list again";
            return Err(FlavorError::failed("joining the others", why));
        }
        Begin::Not(why) => return Err(FlavorError::failed("starting ZooKeeper", why)),
    };
    let Some(list) = list else {
        let why = "the list of its servers is gone, and its data is there";
        return Err(FlavorError::failed("starting ZooKeeper", why));
    };
    command(config, server, me, list)
}

/// Whether there is a log or a snapshot. Only `myid` is none.
fn has_data(server: &Server) -> Result<bool, FlavorError> {
    Ok(server.has_data()? && server.data().join("version-2").exists())
}

/// What the others say: all are asked at once.
async fn ask_others(config: &Config, me: &str) -> Option<View> {
    let asked = config.hosts.others(me).map(|(member, _)| async move {
        let deadline = Deadline::after(config.plan.timeout);
        let role = config.role(member, deadline).await.ok()?;
        let members = config.members(member, deadline).await.ok();
        Some((role, members.unwrap_or_default()))
    });
    let answers: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    if answers.is_empty() {
        return None;
    }
    let votes = |role: Role| matches!(role, Role::Leader | Role::Follower);
    let serving = || answers.iter().filter(|(role, _)| votes(*role));
    // The leader's list is never behind.
    let list = serving().find(|(role, _)| *role == Role::Leader);
    let list = list.or_else(|| serving().next());
    Some(View {
        members: list.map(|(_, members)| members.clone()).unwrap_or_default(),
        at_work: serving().count(),
    })
}

/// Has one of the others remove this member from their list.
async fn removed(config: &Config, me: &str, deadline: Deadline) -> Result<(), FlavorError> {
    let id = config.id(me)?.to_string();
    let mut failed = Err(FlavorError::failed("joining the others", "there are none"));
    for (member, _) in config.hosts.others(me) {
        let soon = Deadline::after(CHANGE.min(deadline.remaining()));
        failed = jute::reconfigure(&config.client(member)?, "", &id, soon).await;
        if failed.is_ok() {
            break;
        }
    }
    failed
}

/// Writes a list of servers for a member that has none of its own, and removes those of another life.
fn new_list(server: &Server, lines: &[String]) -> Result<PathBuf, FlavorError> {
    for (_, path) in lists(server) {
        let _ = std::fs::remove_file(path);
    }
    server.write(LIST, &(lines.join("\n") + "\n"))?;
    Ok(server.path(LIST))
}

/// The latest list that ZooKeeper wrote itself; else the one that was written for it.
fn last_list(server: &Server) -> Result<Option<PathBuf>, FlavorError> {
    let latest = lists(server).max_by_key(|(version, _)| *version);
    let first = server.path(LIST);
    Ok(latest
        .map(|(_, path)| path)
        .or_else(|| first.exists().then_some(first)))
}

/// The lists that ZooKeeper wrote itself, by the version at the end of their names.
fn lists(server: &Server) -> impl Iterator<Item = (u64, PathBuf)> {
    let first = server.path(LIST);
    let prefix = first
        .file_name()
        .map(|name| format!("{}.", name.to_string_lossy()));
    let directory = first.parent().map(std::fs::read_dir);
    let entries = directory.into_iter().flatten().flatten().flatten();
    entries.filter_map(move |entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix(prefix.as_deref()?)?;
        Some((u64::from_str_radix(version, 16).ok()?, entry.path()))
    })
}

fn command(
    config: &Config,
    server: &Server,
    me: &str,
    list: PathBuf,
) -> Result<CommandLine, FlavorError> {
    server.make()?;
    let id = server.data().join("myid");
    let written = std::fs::write(&id, format!("{}\n", config.id(me)?));
    written.map_err(|error| {
        FlavorError::failed(format!("writing {}", id.display()), error.to_string())
    })?;
    // ZooKeeper takes the name of the list from the name of this file when it writes a new one.
    server.write("cfg", &config.text(me, server.data(), &list))?;
    let mut words = config.command.clone();
    words.push(server.path("cfg").display().to_string());
    Ok(CommandLine::Program(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str, at_work: usize) -> View {
        View {
            members: Members::read(text),
            at_work,
        }
    }

    const THREE: &str =
        "server.1=a:1:2:participant;3\nserver.2=b:1:2:participant;3\nserver.3=c:1:2:participant;3";
    const FRESH: Found<'_> = Found {
        data: false,
        vain_starts: 0,
        founded: false,
        others: None,
        id: 1,
        host: "a",
    };

    #[test]
    fn founds_only_where_there_is_nothing_and_nobody_serves() {
        assert_eq!(decide(FRESH), Begin::Founding);
        let waiting = View::default();
        let found = Found {
            others: Some(&waiting),
            ..FRESH
        };
        assert_eq!(decide(found), Begin::Founding, "the others wait for it");
        let found = Found {
            founded: true,
            ..FRESH
        };
        assert!(matches!(decide(found), Begin::Not(_)));
        let one = view(THREE, 1);
        let found = Found {
            others: Some(&one),
            ..FRESH
        };
        assert!(matches!(decide(found), Begin::Not(_)));
    }

    #[test]
    fn starts_with_nothing_only_while_the_others_are_a_majority() {
        let (most, one) = (view(THREE, 2), view(THREE, 1));
        let found = |data, vain_starts, others: &View, id| {
            decide(Found {
                data,
                vain_starts,
                founded: true,
                others: Some(others),
                id,
                host: "a",
            })
        };
        assert_eq!(found(false, 0, &most, 1), Begin::Removed);
        assert_eq!(found(false, 0, &most, 4), Begin::Beside);
        assert!(
            matches!(found(false, 0, &most, 2), Begin::Not(_)),
            "that is the number of another server"
        );
        assert!(matches!(found(false, 0, &one, 1), Begin::Not(_)));
        assert_eq!(found(true, 0, &most, 1), Begin::AsItIs);
        assert_eq!(found(true, 1, &most, 1), Begin::Removed);
        assert_eq!(found(true, 1, &one, 1), Begin::AsItIs, "it may be needed");
        assert_eq!(found(true, 0, &most, 4), Begin::Beside, "it was removed");
    }
}
