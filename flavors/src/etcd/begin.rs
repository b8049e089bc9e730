//! Making a member ready to start: with its data, as one of the founders, or as one that the others let in.

use std::time::Duration;

use futures::future::join_all;
use muster_provisioners::Deadline;

use super::api::Member;
use super::config::Config;
use crate::run::CommandLine;
use crate::server::Server;
use crate::{FlavorError, Role, Workload, majority};

/// How long is waited before the others are asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// After so many starts in vain a learner's data is given up: it may be of use yet, and it has no vote to lose.
const LEARNER_STARTS: u32 = 3;

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
}

/// What the others say of the ensemble.
#[derive(Debug, Clone, Default, PartialEq)]
struct View {
    /// The members on the list of one that knows a leader.
    members: Vec<Member>,
    /// This member among them.
    me: Option<Member>,
    /// How many of the others have a vote and know a leader.
    at_work: usize,
}

/// How a member starts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Begin {
    /// With its data.
    AsItIs,
    /// As one of those that found the ensemble.
    Founding,
    /// As one that the others have let in.
    LetIn,
    /// As one that the others are to let in, without the data that it has, and removed first if it is on their list.
    Anew,
    /// Not now, and why.
    Not(&'static str),
}

impl View {
    /// Whether the others are more than half of the voters without this one.
    fn is_majority(&self) -> bool {
        let voters = self.members.iter().filter(|member| !member.is_learner);
        self.at_work >= majority(voters.count())
    }

    /// After how many starts in vain this member's data is given up.
    fn starts(&self) -> u32 {
        match &self.me {
            None => 0,
            Some(me) if me.is_learner => LEARNER_STARTS,
            Some(_) => 1,
        }
    }
}

/// Pure.
fn decide(found: Found<'_>) -> Begin {
    let others = found.others.filter(|view| view.is_majority());
    match (found.data, others) {
        // Its data may be damaged, or of a member that was removed: the others have all of it.
        (true, Some(view)) if found.vain_starts >= view.starts() => Begin::Anew,
        (true, _) => Begin::AsItIs,
        // One that was added and has not begun yet has no name.
        (false, Some(view)) if view.me.as_ref().is_some_and(|me| me.name.is_empty()) => {
            Begin::LetIn
        }
        (false, Some(_)) => Begin::Anew,
        (false, None) if found.others.is_some() => {
            Begin::Not("the others have no majority without it, so nobody can let it in")
        }
        (false, None) if found.founded => {
            Begin::Not("the ensemble was founded, and none of the others answers")
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
        return Err(FlavorError::failed("starting etcd", problem.to_string()));
    }
    loop {
        match attempt(config, server, workload, deadline).await {
            Ok(command) => {
                server.make()?;
                server.begins()?;
                return Ok(command);
            }
            Err(error) => {
                tracing::info!(%error, "etcd can't start yet");
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
    let view = ask_others(config, &workload.member).await;
    let begin = decide(Found {
        data: server.has_data()?,
        vain_starts: server.vain_starts(),
        founded: workload.founded,
        others: view.as_ref(),
    });
    tracing::info!(?begin, "etcd is to start");
    match begin {
        // What it is told of the others counts where its data is a beginning only.
        Begin::AsItIs if workload.founded => command(
            config,
            server,
            workload,
            &cluster("existing", &founders(config)),
        ),
        Begin::AsItIs | Begin::Founding => {
            command(config, server, workload, &cluster("new", &founders(config)))
        }
        Begin::LetIn => joining(config, server, workload, &view.unwrap_or_default()),
        Begin::Anew => {
            anew(config, server, workload, view.as_ref(), deadline).await?;
            Err(FlavorError::failed(
                "joining the others",
                "they have let it in, and are asked for their list again",
            ))
        }
        Begin::Not(why) => Err(FlavorError::failed("starting etcd", why)),
    }
}

/// All members that the group declares.
fn founders(config: &Config) -> Vec<(String, String)> {
    let members = config.hosts.iter();
    members
        .map(|(member, host)| (member.to_owned(), config.peer_url(&host)))
        .collect()
}

/// What the others say: all are asked at once.
async fn ask_others(config: &Config, me: &str) -> Option<View> {
    let asked = config.hosts.others(me).map(|(member, _)| async move {
        let deadline = Deadline::after(config.patience());
        let client = config.client(member).ok()?;
        let status = client.status(deadline).await.ok()?;
        let list = client.members(deadline).await.ok()?;
        Some((status.role(), list))
    });
    let answers: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    if answers.is_empty() {
        return None;
    }
    let votes = |role: Role| matches!(role, Role::Leader | Role::Follower);
    let at_work = answers.iter().filter(|(role, _)| votes(*role)).count();
    // The leader's list is never behind.
    let list = answers.iter().find(|(role, _)| *role == Role::Leader);
    let list = list.or_else(|| answers.iter().find(|(role, _)| votes(*role)));
    let members = list.map(|(_, list)| list.clone()).unwrap_or_default();
    let mut mine = members.iter();
    Some(View {
        me: mine
            .find(|member| config.member_at(member) == Some(me))
            .cloned(),
        members,
        at_work,
    })
}

/// Has the others remove this member, puts aside what it has, and has them add it anew.
async fn anew(
    config: &Config,
    server: &Server,
    workload: &Workload,
    view: Option<&View>,
    deadline: Deadline,
) -> Result<(), FlavorError> {
    let me = &workload.member;
    let listed = view.and_then(|view| view.me.as_ref());
    let peer_url = config.peer_url(&config.hosts.of(me));
    if let Some(listed) = listed {
        through_another(config, me, &Change::Remove(listed.id), deadline).await?;
    }
    // From here on it is no member, so what it has is of no use to anybody.
    server.put_aside()?;
    through_another(config, me, &Change::Add(peer_url), deadline).await
}

/// What one of the others is asked to do.
enum Change {
    /// Remove a member.
    Remove(u64),
    /// Add one that is found there, without a vote.
    Add(String),
}

/// Asks the others one after the other, until one does it.
async fn through_another(
    config: &Config,
    me: &str,
    change: &Change,
    deadline: Deadline,
) -> Result<(), FlavorError> {
    let mut failed = Err(FlavorError::failed("joining the others", "there are none"));
    for (member, _) in config.hosts.others(me) {
        let client = config.client(member)?;
        failed = match change {
            Change::Remove(id) => client.remove(*id, deadline).await,
            Change::Add(url) => client.add(url, deadline).await,
        };
        if failed.is_ok() {
            break;
        }
    }
    failed
}

/// The command of one that the others have let in: with exactly the members on their list.
fn joining(
    config: &Config,
    server: &Server,
    workload: &Workload,
    view: &View,
) -> Result<CommandLine, FlavorError> {
    let mut members = Vec::new();
    for member in &view.members {
        // One that has not begun yet has no name on the list.
        let name = config.member_at(member).unwrap_or(&member.name);
        for url in &member.peer_urls {
            members.push((name.to_owned(), url.clone()));
        }
    }
    command(config, server, workload, &cluster("existing", &members))
}

/// The arguments that only count where there is no data.
fn cluster(state: &str, members: &[(String, String)]) -> Vec<String> {
    let members: Vec<_> = members
        .iter()
        .map(|(name, url)| format!("{name}={url}"))
        .collect();
    vec![
        format!("--initial-cluster={}", members.join(",")),
        format!("--initial-cluster-state={state}"),
    ]
}

fn command(
    config: &Config,
    server: &Server,
    workload: &Workload,
    cluster: &[String],
) -> Result<CommandLine, FlavorError> {
    let host = config.hosts.of(&workload.member);
    let (client, peer) = (config.client_url(&host), config.peer_url(&host));
    let mut words = vec![
        config.program.clone(),
        format!("--name={}", workload.member),
        format!("--data-dir={}", server.data().display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster-token={}", workload.group),
    ];
    words.extend_from_slice(cluster);
    words.extend(config.arguments.iter().cloned());
    Ok(CommandLine::Program(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str) -> Member {
        Member {
            id,
            name: name.to_owned(),
            peer_urls: Vec::new(),
            is_learner: false,
        }
    }

    /// What others say of an ensemble of three, of whom so many are at work.
    fn view(me: Option<&str>, at_work: usize) -> View {
        let me = me.map(|name| member(1, name));
        let mut members = vec![member(2, "b"), member(3, "c")];
        members.extend(me.clone());
        View {
            members,
            me,
            at_work,
        }
    }

    const FRESH: Found<'_> = Found {
        data: false,
        vain_starts: 0,
        founded: false,
        others: None,
    };

    #[test]
    fn founds_only_where_there_is_nothing_and_nobody() {
        assert_eq!(decide(FRESH), Begin::Founding);
        let founded = Found {
            founded: true,
            ..FRESH
        };
        assert!(matches!(decide(founded), Begin::Not(_)));
        let data = Found {
            data: true,
            ..FRESH
        };
        assert_eq!(decide(data), Begin::AsItIs);
    }

    #[test]
    fn joins_anew_only_while_the_others_are_a_majority() {
        for founded in [true, false] {
            let found = |view: &View| {
                decide(Found {
                    founded,
                    others: Some(view),
                    ..FRESH
                })
            };
            assert_eq!(found(&view(Some("a"), 2)), Begin::Anew, "it lost its data");
            assert_eq!(
                found(&view(None, 2)),
                Begin::Anew,
                "it was removed, or never added"
            );
            assert_eq!(
                found(&view(Some(""), 2)),
                Begin::LetIn,
                "it was added before"
            );
            assert!(matches!(found(&view(Some("a"), 1)), Begin::Not(_)));
            assert!(matches!(found(&View::default()), Begin::Not(_)));
        }
    }

    #[test]
    fn data_that_it_does_not_come_up_with_is_given_up_only_while_the_others_have_it() {
        let found = |view: &View, vain_starts| {
            decide(Found {
                data: true,
                vain_starts,
                others: Some(view),
                ..FRESH
            })
        };
        assert_eq!(found(&view(Some("a"), 2), 0), Begin::AsItIs);
        assert_eq!(found(&view(Some("a"), 2), 1), Begin::Anew);
        assert_eq!(
            found(&view(Some("a"), 1), 1),
            Begin::AsItIs,
            "it may be needed"
        );
        assert_eq!(found(&view(None, 2), 0), Begin::Anew, "it was removed");
        let mut learner = view(Some("a"), 2);
        for listed in learner.members.iter_mut().chain(&mut learner.me) {
            listed.is_learner = listed.id == 1;
        }
        let starts = [0, 1, 2].map(|vain_starts| found(&learner, vain_starts));
        assert_eq!(starts, [Begin::AsItIs, Begin::AsItIs, Begin::AsItIs]);
        assert_eq!(found(&learner, LEARNER_STARTS), Begin::Anew);
    }
}
