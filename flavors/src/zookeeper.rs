//! `zookeeper`: ensembles of pets that run ZooKeeper 3.6 or later, which the agent starts, watches and keeps members of each
//! other.
//!
//! | property | meaning | default |
//! |---|---|---|
//! | `address` | host name or IP address of each member; `{member}` stands for its name | `{member}` |
//! | `addresses` | those that are different, by member | none |
//! | `ids` | each member's number (`myid`), from 1 to 255 | the digits at the end of its name: 3 for `zk-3` |
//! | `client_port`, `quorum_port`, `election_port` | where each listens | 2181, 2888, 3888 |
//! | `admin_port` | where its admin server listens: then that is asked how it is, over HTTP | none: it is asked by four-letter words |
//! | `data_dir` | where its data lies, below the workload's directory (a pet's disk) where it is relative | `zookeeper` |
//! | `command` | list of words that start the server in the foreground; the path of `zoo.cfg` is put after them | `["zkServer.sh", "start-foreground"]` |
//! | `settings` | further lines of `zoo.cfg`, by name | see below |
//! | `password_file` | a file on each machine with `super:PASSWORD`, where the servers don't have `skipACL` | none |
//! | `health.interval`, `.timeout`, `.failures`, `.successes` | as for `vanilla` | `5s`, `2s`, 3, 1 |
//!
//! `zoo.cfg` is written before each start: `tickTime=2000`, `initLimit=10`, `syncLimit=5`, `skipACL=yes` unless there is a
//! password, `reconfigEnabled=true`, `standaloneEnabled=false`, and the words `srvr`, `mntr` and `conf` allowed. Who the members
//! are is in a file of its own, which ZooKeeper keeps from then on.
//!
//! - **Founded once.** The members found the ensemble together while nobody has put on record that there is one. From then on a
//!   member without data is removed from their list, starts beside the others as an observer, is added when it follows, and waits
//!   for them where they are no majority.
//! - **Data that a member does not come up with** is put aside, not deleted, while the others are a majority of the voters without
//!   it: it joins them as one without data does.
//! - **Who goes for good is removed first** by a reconfiguration through another member, and does not add itself again while it
//!   runs on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::{Deadline, MachineSpec, Problem, Properties};

use crate::run::CommandLine;
use crate::server::Server;
use crate::{
    Allocation, Built, Flavor, FlavorError, Health, HealthPlan, Kind, Part, Place, Role, Workload,
};

mod begin;
mod config;
mod jute;
mod members;
mod words;

use config::Config;

/// The pause before a member is struck off once more, after that did not work or nobody knows whether it did.
const AGAIN: Duration = Duration::from_millis(500);
/// The file beside the data of one that began without a vote, until it has one.
const JOINS: &str = "joins";

/// This flavor for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: "zookeeper",
    about: "members of a ZooKeeper ensemble",
    build,
};

fn build(properties: &Properties, allocation: &Allocation) -> Built {
    Ok(Arc::new(ZooKeeper(Config::read(properties, allocation)?)))
}

/// The flavor, bound to a group's properties.
#[derive(Debug)]
struct ZooKeeper(Config);

impl ZooKeeper {
    fn server(&self, workload: &Workload) -> Server {
        Server::new("zookeeper", workload, &self.0.data_dir)
    }

    /// How this machine's own server is.
    async fn look(&self, workload: &Workload) -> Result<Health, FlavorError> {
        let deadline = Deadline::after(self.0.plan.timeout);
        let role = self.0.role(&workload.member, deadline).await?;
        if role == Role::Outside {
            let outside = Health::warning("ZooKeeper answers and does not serve requests");
            return Ok(outside.playing(Part::new(role)));
        }
        let list = self.0.members(&workload.member, deadline).await?;
        // A server that is not on the list calls itself a follower, too.
        let role = match role {
            Role::Follower if !list.votes(self.0.id(&workload.member)?) => Role::Learner,
            role => role,
        };
        let server = self.server(workload);
        let peers = workload.peers.iter().filter_map(|peer| peer.part);
        let votes = usize::from(role != Role::Learner);
        let serving = peers.filter(|part| part.votes()).count() + votes;
        let voters = list.voters();
        server.came_up();
        let part = Part::new(role).counting(voters, serving.min(voters));
        if role == Role::Learner && !server.path(JOINS).exists() {
            let why = "it was struck off: it has no vote until it is started again";
            return Ok(Health::warning(why).playing(part));
        }
        Ok(Health::ok("").playing(part))
    }

    /// Has this machine's server added with a vote, by a reconfiguration through one that serves.
    async fn join(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        let line = self.0.line(&workload.member)?;
        let client = self.0.client(&workload.member)?;
        jute::reconfigure(&client, &line, "", deadline).await
    }

    /// Removes a member from the list, if it is there.
    async fn struck(
        &self,
        workload: &Workload,
        member: &str,
        deadline: Deadline,
    ) -> Result<(), FlavorError> {
        let list = self.0.members(&workload.member, deadline).await?;
        if list.voters() == 0 {
            let why = "ZooKeeper does not say who its members are";
            return Err(FlavorError::failed("striking a member off", why));
        }
        let Some(id) = self.0.listed(member, &list)? else {
            return Ok(());
        };
        let client = self.0.client(&workload.member)?;
        jute::reconfigure(&client, "", &id.to_string(), deadline).await
    }
}

#[async_trait]
impl Flavor for ZooKeeper {
    /// The agent starts the server, so there is nothing to do at the first boot.
    fn prepare(&self, spec: MachineSpec, place: &Place<'_>) -> Result<MachineSpec, Vec<Problem>> {
        match self.0.hosts.undeclared(place.member) {
            Some(problem) => Err(vec![problem]),
            None => Ok(spec),
        }
    }

    fn health_plan(&self) -> Option<HealthPlan> {
        Some(self.0.plan.clone())
    }

    async fn healthy(&self, workload: &Workload) -> Health {
        match self.look(workload).await {
            Ok(health) => health,
            Err(error) => Health::critical(error.to_string()),
        }
    }

    /// There is no way to hand the leadership over: the others elect one of them when it stops.
    fn can_drain(&self) -> bool {
        false
    }

    async fn drain(&self, _: &Workload, _: Deadline) -> Result<(), FlavorError> {
        Ok(())
    }

    fn can_stop(&self) -> bool {
        true
    }

    fn can_start(&self) -> bool {
        true
    }

    fn is_kept(&self) -> bool {
        true
    }

    async fn start(
        &self,
        workload: &Workload,
        deadline: Deadline,
    ) -> Result<CommandLine, FlavorError> {
        begin::ready(&self.0, &self.server(workload), workload, deadline).await
    }

    async fn stop(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        self.server(workload).end(deadline).await
    }

    fn can_restart(&self) -> bool {
        false
    }

    /// Its guard stops and starts it.
    async fn restart(&self, _: &Workload, _: Deadline) -> Result<(), FlavorError> {
        Err(FlavorError::nothing("restart"))
    }

    fn may_be_missing(&self, members: usize) -> usize {
        members.saturating_sub(1) / 2
    }

    fn is_ensemble(&self) -> bool {
        true
    }

    /// One that began without a vote, and follows, is added to the others' list with one. One that had a vote and is not listed
    /// any more was struck off, and its machine may be about to go: it stays away.
    async fn tend(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        let member = &workload.member;
        let joins = self.server(workload).path(JOINS);
        if self.0.hosts.undeclared(member).is_some() || !joins.exists() {
            return Ok(());
        }
        let Ok(role) = self.0.role(member, deadline).await else {
            return Ok(());
        };
        let list = self.0.members(member, deadline).await?;
        let votes = list.votes(self.0.id(member)?);
        if is_to_join(role, votes) {
            self.join(workload, deadline).await?;
        } else if !votes {
            return Ok(());
        }
        let removed = std::fs::remove_file(&joins);
        removed.map_err(|error| {
            FlavorError::failed(format!("removing {}", joins.display()), error.to_string())
        })
    }

    fn strikes(&self, replaced: bool) -> bool {
        !replaced
    }

    async fn strike(
        &self,
        workload: &Workload,
        member: &str,
        deadline: Deadline,
    ) -> Result<(), FlavorError> {
        loop {
            // Where the one that leads is struck off, everybody hangs up while it is done.
            match self.struck(workload, member, deadline).await {
                Err(_) if deadline.sleep(AGAIN).await => {}
                other => return other,
            }
        }
    }
}

/// Whether a server that began without a vote has itself added with one: once it follows.
fn is_to_join(role: Role, votes: bool) -> bool {
    matches!(role, Role::Follower | Role::Learner) && !votes
}

#[cfg(test)]
mod tests;
