//! `etcd`: ensembles of pets that run etcd 3.4 or later, which the agent starts, watches and keeps members of each other.
//!
//! | property | meaning | default |
//! |---|---|---|
//! | `address` | host name or IP address of each member; `{member}` stands for its name | `{member}` |
//! | `addresses` | those that are different, by member | none |
//! | `client_port`, `peer_port` | where each listens | 2379, 2380 |
//! | `data_dir` | where its data lies, below the workload's directory (a pet's disk) where it is relative | `etcd` |
//! | `program` | the server | `etcd` |
//! | `arguments` | list of further arguments for it | none |
//! | `health.interval`, `.timeout`, `.failures`, `.successes` | as for `vanilla` | `5s`, `2s`, 3, 1 |
//!
//! - **Founded once.** The members found the ensemble together, with the same list, while nobody has put on record that there
//!   is one. From then on a member without data joins the others, and waits for them where they don't answer.
//! - **Remove before add, learner first.** A member that lost its data, or doesn't come up with it, is removed by one of the
//!   others and added again without a vote, and gets one when it has caught up. That is done only while the others are a
//!   majority of the voters without it. What is left of its data is put aside, not deleted.
//! - **Who goes for good is removed first**, and hands over the leadership before.
//!
//! A refusal of the kind *unhealthy cluster*, which is usual for seconds after a loss, is waited out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_provisioners::{Deadline, MachineSpec, Problem, Properties};

use crate::run::CommandLine;
use crate::server::Server;
use crate::{
    Allocation, Built, Flavor, FlavorError, Health, HealthPlan, Kind, Part, Place, Role, Workload,
};

mod api;
mod begin;
mod config;

use api::{Client, Status};
use config::Config;

/// The pause before a member is struck off once more.
const AGAIN: Duration = Duration::from_secs(1);

/// This flavor for the [`Registry`](crate::Registry).
pub const KIND: Kind = Kind {
    name: "etcd",
    about: "members of an etcd ensemble",
    build,
};

fn build(properties: &Properties, allocation: &Allocation) -> Built {
    Ok(Arc::new(Etcd(Config::read(properties, allocation)?)))
}

/// The flavor, bound to a group's properties.
#[derive(Debug)]
struct Etcd(Config);

impl Etcd {
    fn server(&self, workload: &Workload) -> Server {
        Server::new("etcd", workload, &self.0.data_dir)
    }

    /// The client of this machine's own server.
    fn own(&self, workload: &Workload) -> Result<Client, FlavorError> {
        self.0.client(&workload.member)
    }

    /// How this machine's own server is. That all is well is told by a read that a majority has to agree to.
    async fn look(&self, workload: &Workload) -> Result<Health, FlavorError> {
        let client = self.own(workload)?;
        let deadline = Deadline::after(self.0.plan.timeout);
        let status = client.status(deadline).await?;
        let role = status.role();
        if role == Role::Outside {
            let outside = Health::warning("etcd answers and knows of no leader");
            return Ok(outside.playing(Part::new(role)));
        }
        // One that has no vote may be asked for nothing else.
        if role == Role::Learner {
            self.server(workload).came_up();
            return Ok(complaint(&status).playing(Part::new(role)));
        }
        let voters = client.members(deadline).await?;
        let voters = voters.iter().filter(|member| !member.is_learner).count();
        let peers = workload.peers.iter().filter_map(|peer| peer.part);
        let serving = peers.filter(|part| part.votes()).count() + 1;
        let part = Part::new(role).counting(voters, serving.min(voters));
        self.server(workload).came_up();
        if status.errors.is_empty() && !client.agrees(deadline).await? {
            let why = "etcd answers, and a read that needs a majority fails";
            return Ok(Health::warning(why).playing(Part::new(Role::Outside)));
        }
        Ok(complaint(&status).playing(part))
    }

    /// Removes a member through a server that has a vote, if it is listed.
    async fn struck(
        &self,
        client: &Client,
        member: &str,
        deadline: Deadline,
    ) -> Result<(), FlavorError> {
        let role = client.status(deadline).await?.role();
        if !Part::new(role).votes() {
            let why = format!("etcd on this machine is {role}, and has no say in it");
            return Err(FlavorError::failed("striking a member off", why));
        }
        let members = client.members_now(deadline).await?;
        for listed in &members {
            if self.0.is_listed_as(listed, member) {
                client.remove(listed.id, deadline).await?;
            }
        }
        Ok(())
    }

    /// Hands the leadership over, if this machine's server has it and somebody else can take it.
    async fn resign(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        let client = self.own(workload)?;
        let status = client.status(deadline).await?;
        if status.role() != Role::Leader {
            return Ok(());
        }
        let me = status.header.member_id;
        for member in client.members(deadline).await? {
            let Some(name) = self.0.member_at(&member) else {
                continue;
            };
            if member.is_learner || member.id == me {
                continue;
            }
            let answers = self.0.client(name)?.status(deadline).await;
            if !answers.is_ok_and(|status| status.role() == Role::Follower) {
                continue;
            }
            return client.transfer(member.id, deadline).await;
        }
        Err(FlavorError::failed(
            "handing the leadership over",
            "no other voter answers",
        ))
    }
}

#[async_trait]
impl Flavor for Etcd {
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

    fn can_drain(&self) -> bool {
        true
    }

    async fn drain(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        self.resign(workload, deadline).await
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

    /// A learner that has caught up gets its vote.
    async fn tend(&self, workload: &Workload, deadline: Deadline) -> Result<(), FlavorError> {
        if self.0.hosts.undeclared(&workload.member).is_some() {
            return Ok(());
        }
        let client = self.own(workload)?;
        let learns = |status: &Status| status.role() == Role::Learner;
        let Some(status) = client.status(deadline).await.ok().filter(learns) else {
            return Ok(());
        };
        let mut refused = Ok(());
        for (member, _) in self.0.hosts.others(&workload.member) {
            let asked = self.0.client(member)?;
            match asked.promote(status.header.member_id, deadline).await {
                Ok(()) => return Ok(()),
                Err(error) => refused = Err(error),
            }
        }
        refused
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
        let client = self.own(workload)?;
        loop {
            match self.struck(&client, member, deadline).await {
                // After a loss it is refused for seconds.
                Err(_) if deadline.sleep(AGAIN).await => {}
                other => return other,
            }
        }
    }
}

/// Well, unless the server complains of something.
fn complaint(status: &Status) -> Health {
    match status.errors.first() {
        Some(alarm) => Health::warning(format!("etcd says: {alarm}")),
        None => Health::ok(""),
    }
}

#[cfg(test)]
mod tests;
