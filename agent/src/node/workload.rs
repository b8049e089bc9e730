//! The workload of this machine: its flavor, as the fleet's state has it, and how it is.
//!
//! Which flavor that is follows from this machine's own copy of the state, so a changed health command takes effect
//! without anybody logging in.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_flavors::infrakit::INSTANCE_VARIABLE;
use muster_flavors::{self as flavors, Flavor, Health, HealthStatus, Registry, Role};
use muster_provisioners::Deadline;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lease;
use super::shared::Shared;
use super::workplace::{self, DATA_VARIABLE};
use crate::execute::peers;
use crate::fleet::{FleetState, LeaseTerms, Place, Template};
use crate::health::Workload;
use crate::spec::for_flavor;

/// How often the state is looked at for a flavor while there is none to watch.
const NO_FLAVOR_PAUSE: Duration = Duration::from_secs(30);

/// How long a member may tend its ensemble after a look at its health.
const TEND: Duration = Duration::from_secs(10);

/// Watches the workload of this machine until the agent stops.
pub(super) async fn run(shared: Arc<Shared>, verdict: watch::Sender<Workload>) {
    let mut applied = shared.replica.watch();
    loop {
        let Some(bound) = bind(&shared) else {
            verdict.send_if_modified(|verdict| {
                std::mem::replace(verdict, Workload::Unknown) != Workload::Unknown
            });
            tokio::select! {
                () = shared.stop.cancelled() => return,
                changed = applied.changed() => if changed.is_err() { return },
                () = shared.transport.doze(NO_FLAVOR_PAUSE) => {}
            }
            continue;
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = watch_one(&bound, &shared, &verdict) => {}
            () = rebound(&shared, &bound, &mut applied) => {}
        }
    }
}

/// A flavor with the template that it came from.
pub(super) struct Bound {
    pub(super) template: Template,
    pub(super) allocation: flavors::Allocation,
    flavor: Arc<dyn Flavor>,
    pub(super) workload: flavors::Workload,
    /// The lease under which the group wants it to run; `None` where its flavor can't start and stop it.
    pub(super) lease: Option<LeaseTerms>,
    /// Whether it is on record that it runs under a lease only.
    pub(super) bound: bool,
    /// Whether the agent keeps it running also where it runs under no lease.
    pub(super) kept: bool,
}

impl Bound {
    /// Whether its flavor starts it.
    pub(super) fn can_start(&self) -> bool {
        self.flavor.can_start()
    }

    /// The workload as it is now, in the company of those that are in the mesh.
    fn now(&self, shared: &Shared) -> Cow<'_, flavors::Workload> {
        if !self.flavor.is_ensemble() {
            return Cow::Borrowed(&self.workload);
        }
        bind(shared).map_or_else(
            || Cow::Borrowed(&self.workload),
            |now| Cow::Owned(now.workload),
        )
    }
}

/// This machine's flavor; `None` when it belongs to no group.
pub(super) fn bind(shared: &Shared) -> Option<Bound> {
    shared.replica.read(|state, _| {
        let machine = state.machines.get(&shared.me)?;
        let place = machine.place.as_ref()?;
        let group = state.groups.get(&place.group)?;
        let revision = machine.revision.unwrap_or(group.template);
        let allocation = for_flavor(&group.spec.allocation);
        let build = |revision| {
            let template = group.templates.get(&revision)?;
            let (name, properties) = (&template.flavor.name, &template.flavor.properties);
            let built = Registry::builtin().build(name, properties, &allocation);
            Some((template.clone(), built.ok()?))
        };
        // What was declared for the members of then may say nothing of one that was declared since.
        let (template, flavor) = build(revision).or_else(|| build(group.template))?;
        let mut environment: BTreeMap<String, String> = workplace::disk()
            .iter()
            .map(|data| (DATA_VARIABLE.to_owned(), data.display().to_string()))
            .collect();
        if let Some(instance) = &machine.instance {
            environment.insert(INSTANCE_VARIABLE.to_owned(), instance.id.to_string());
        }
        let workload = flavors::Workload {
            machine: machine.name.to_string(),
            group: place.group.to_string(),
            member: place.member.to_string(),
            directory: Some(workplace::workplace(&shared.state_dir)),
            environment,
            founded: group.ensemble_ms.is_some(),
            peers: company(shared, state, place),
        };
        let leasable = flavor.can_stop() && flavor.can_start();
        Some(Bound {
            lease: group
                .spec
                .heal
                .lease
                .filter(|_| leasable && machine.is_pet()),
            bound: machine.lease.is_some(),
            kept: flavor.is_kept() && flavor.can_start(),
            template,
            allocation,
            flavor,
            workload,
        })
    })
}

/// Looks at the workload as often as its plan says, for ever; for ever at nothing when there is no plan.
async fn watch_one(bound: &Bound, shared: &Shared, verdict: &watch::Sender<Workload>) {
    let Some(plan) = bound.flavor.health_plan() else {
        return std::future::pending().await;
    };
    let mut streak = flavors::Streak::new();
    let mut due = shared.transport.alarm();
    loop {
        due.set(Some(Instant::now() + plan.interval));
        let workload = bound.now(shared);
        let look = bound.flavor.healthy(&workload).await;
        let health = streak.observe(&plan, as_peers_see_it(look, &workload.peers));
        // What was stopped because its lease ran out has not failed.
        let now = if shared.leased.may_run() {
            judged(&health)
        } else {
            streak = flavors::Streak::new();
            Workload::Unknown
        };
        verdict.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        if let Err(error) = bound.flavor.tend(&workload, Deadline::after(TEND)).await {
            tracing::warn!(%error, "the ensemble of this machine's workload was not tended");
        }
        due.rings().await;
    }
}

/// Its peers have a say in how a member of an ensemble is: one that knows of no leader, while another one does, is what fails.
/// Where nobody knows of one, it is not for want of this one.
fn as_peers_see_it(look: Health, peers: &[flavors::PeerMember]) -> Health {
    let outside = look.part.filter(|part| part.role == Role::Outside);
    let within = |peer: &&flavors::PeerMember| peer.part.is_some_and(flavors::Part::votes);
    match (outside, peers.iter().find(within)) {
        (Some(part), Some(peer)) => {
            let reason = format!(
                "it is outside the ensemble that {} is in: {}",
                peer.machine, look.reason
            );
            Health::critical(reason).playing(part)
        }
        _ => look,
    }
}

/// The other members of the group, with the part that each says it plays.
fn company(shared: &Shared, state: &FleetState, place: &Place) -> Vec<flavors::PeerMember> {
    let world = shared.mesh.look();
    let part = |name: &str| {
        let mut machines = state.group_machines(&place.group);
        let machine = machines.find(|machine| machine.name.as_str() == name)?;
        let seen = world.members.get(&machine.id)?;
        seen.said
            .as_ref()
            .filter(|_| world.is_active(machine.id))?
            .part
    };
    let mut peers = peers(state, place);
    for peer in &mut peers {
        peer.part = part(&peer.machine);
    }
    peers
}

fn judged(health: &Health) -> Workload {
    match health.status {
        // One failed look is no failure yet; the streak says when it has become one.
        HealthStatus::Ok | HealthStatus::Warning => Workload::Healthy { part: health.part },
        HealthStatus::Unknown => Workload::Unknown,
        HealthStatus::Critical => Workload::Failed {
            detail: health.reason.clone(),
        },
    }
}

/// Returns when the state has another flavor for this machine.
async fn rebound(
    shared: &Shared,
    bound: &Bound,
    applied: &mut watch::Receiver<Option<muster_mesh::consensus::At>>,
) {
    loop {
        if applied.changed().await.is_err() {
            return std::future::pending().await;
        }
        if bind(shared).is_none_or(|now| now.template != bound.template) {
            return;
        }
    }
}

/// Lets this machine's workload hand over its duties. Says whether there was a way to: `false` where its flavor has none.
///
/// # Errors
/// Why it did not.
pub(super) async fn drain(shared: &Shared, deadline: Deadline) -> Result<bool, String> {
    let Some(bound) = bind(shared).filter(|bound| bound.flavor.can_drain()) else {
        return Ok(false);
    };
    let drained = bound.flavor.drain(&bound.workload, deadline).await;
    drained.map(|()| true).map_err(|error| error.to_string())
}

/// Strikes another member of the group off the ensemble of their workload.
///
/// # Errors
/// Why it did not.
pub(super) async fn strike(
    shared: &Shared,
    member: &str,
    deadline: Deadline,
) -> Result<(), String> {
    let bound = bind(shared).ok_or("this machine has no flavor")?;
    if member == bound.workload.member {
        return Err("it is itself the member that is to be struck off".to_owned());
    }
    let struck = bound.flavor.strike(&bound.workload, member, deadline).await;
    struck.map_err(|error| error.to_string())
}

/// Restarts this machine's workload.
///
/// # Errors
/// Why it did not.
pub(super) async fn restart(shared: &Shared, deadline: Deadline) -> Result<(), String> {
    if let Some(restarted) = lease::restart(shared, deadline.remaining()).await {
        return restarted;
    }
    let bound = bind(shared).ok_or("this machine has no flavor")?;
    if !bound.flavor.can_restart() {
        return Err("its flavor has no command that restarts it".to_owned());
    }
    let restarted = bound.flavor.restart(&bound.workload, deadline).await;
    restarted.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use muster_flavors::{Part, PeerMember};

    use super::*;

    fn peer(part: Option<Part>) -> PeerMember {
        PeerMember {
            member: "b".to_owned(),
            machine: "db-b".to_owned(),
            address: None,
            part,
        }
    }

    #[test]
    fn one_that_is_outside_what_others_form_fails_and_one_among_equals_does_not() {
        let look = || Health::warning("no leader").playing(Part::new(Role::Outside));
        let follower = peer(Some(Part::new(Role::Follower)));
        let outside = peer(Some(Part::new(Role::Outside)));
        let judged = as_peers_see_it(look(), &[outside.clone(), follower.clone()]);
        assert_eq!(judged.status, HealthStatus::Critical);
        assert!(judged.reason.contains("db-b"), "{judged:?}");
        assert_eq!(as_peers_see_it(look(), &[outside, peer(None)]), look());
        let leads = Health::ok("").playing(Part::new(Role::Leader));
        assert_eq!(as_peers_see_it(leads.clone(), &[follower]), leads);
    }
}
