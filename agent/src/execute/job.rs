//! From an intent in the fleet state to one piece of work: pure, and the same for every leader.

use std::net::SocketAddr;

use muster_flavors as flavors;
use muster_mesh::identity::MachineId;
use muster_provisioners::{
    BootConfig, InstanceId, MachineSpec, OperationId, Properties, Secret, Tags, tag,
};

use super::STEP_DEADLINE;
use crate::fleet::{
    Action, Allocation, Decision, Fenced, FlavorSpec, FleetState, Intent, LeaseTerms, Machine,
    Phase, Place, Rung, Step, Template,
};
use crate::spec::for_flavor;

/// One step of one intent, with all that it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The intent's operation ID.
    pub op: OperationId,
    /// The step that is reported on.
    pub step: Step,
    /// How often it has failed before.
    pub attempt: u32,
    /// What to do.
    pub work: Work,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Prove an instance off, by destroying it if need be; or wait until its machine's lease is over.
    Fence {
        /// The provisioner's name.
        provisioner: String,
        /// Which instance.
        instance: Target,
        /// Whose lease, and its terms; `None` where there is none.
        lease: Option<(MachineId, LeaseTerms)>,
        /// Of what its machine failed, so that its hardware is not used again; `None` if it did not.
        failed: Option<String>,
        /// Whether it has to be on record that the instance may be destroyed before it is.
        begins: bool,
        /// Whether that is on record already: what an earlier call did is not known.
        begun: bool,
    },
    /// Wait until the lease is over of a machine that no provisioner of ours made.
    AwaitLease {
        /// Whose, and its terms.
        lease: (MachineId, LeaseTerms),
    },
    /// Destroy an instance if it is proved off, and leave it as it is otherwise.
    DestroyIfOff {
        /// The provisioner's name.
        provisioner: String,
        /// Which instance.
        instance: Target,
        /// Of what its machine failed; `None` if it did not.
        failed: Option<String>,
    },
    /// Let a machine's workload hand over its duties.
    Drain {
        /// Which machine.
        machine: MachineId,
    },
    /// Have another machine of a group strike a member off the ensemble of their workload.
    Strike {
        /// Which machine is struck off.
        machine: MachineId,
        /// Which member it is.
        member: String,
        /// The machines that may do it, none if there is no ensemble left.
        by: Vec<MachineId>,
    },
    /// Destroy an instance.
    Destroy {
        /// The provisioner's name.
        provisioner: String,
        /// Which instance.
        instance: Target,
        /// Of what its machine failed; `None` if it did not.
        failed: Option<String>,
        /// Whether it has to be on record that it may be destroyed before it is.
        begins: bool,
        /// Whether that is on record already: what an earlier call did is not known.
        begun: bool,
    },
    /// Make an instance.
    Provision {
        /// The provisioner's name.
        provisioner: String,
        /// What to make.
        spec: Box<MachineSpec>,
        /// Whom to ask about it before; `None` where it is complete.
        asked: Option<Box<Asked>>,
    },
    /// Write an instance's system anew.
    Reimage {
        /// The provisioner's name.
        provisioner: String,
        /// Which instance.
        instance: InstanceId,
        /// What comes of it.
        spec: Box<MachineSpec>,
        /// Whom to ask about it before; `None` where it is complete.
        asked: Option<Box<Asked>>,
        /// Whether it may have begun, which is on record.
        begun: bool,
    },
    /// Restart a machine's workload.
    RestartWorkload {
        /// Which machine.
        machine: MachineId,
    },
    /// Reboot an instance, or cycle its power.
    Reboot {
        /// The provisioner's name.
        provisioner: String,
        /// Which instance.
        instance: Target,
        /// Which of the two.
        rung: Rung,
    },
    /// The step concerns nothing that exists: no instance was ever made, or none by a provisioner of ours.
    Nothing,
}

/// A flavor that has to be asked about a machine before that is made, and what it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The flavor's name and properties.
    pub flavor: FlavorSpec,
    /// Who the group declares.
    pub allocation: flavors::Allocation,
    /// The group's ID.
    pub group: String,
    /// Which member.
    pub member: String,
    /// The members that exist now, this one left out.
    pub peers: Vec<flavors::PeerMember>,
}

/// Which instance a step is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One that is on record.
    Known(InstanceId),
    /// Whatever an order made, if it made anything: nobody lived to say so.
    Ordered {
        /// The order.
        op: OperationId,
        /// By when all calls of it have come to an end, in milliseconds since 1970.
        ended_ms: u64,
    },
}

/// What the state doesn't say: where the mesh can be found just now, and the new machine's token.
pub struct Surroundings<'a> {
    /// Agents that can let a new machine in.
    pub seeds: Vec<SocketAddr>,
    /// The join token of an ordered machine.
    pub token: &'a dyn Fn(MachineId, &OperationId) -> Secret,
    /// Keys of the agent's configuration that a new machine gets: what it needs to lead one day.
    pub settings: Properties,
}

/// The state contradicts itself, or a flavor refuses: a step that can't be made into work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JobError(pub String);

/// The work of an intent's current step; `None` when there is none for an executor.
///
/// # Errors
/// When the step can't be carried out as the state stands.
pub fn job(
    state: &FleetState,
    intent: &Intent,
    surroundings: &Surroundings<'_>,
) -> Result<Option<Job>, JobError> {
    let Some(record) = intent.current() else {
        return Ok(None);
    };
    let work = match record.step {
        Step::AwaitJoin | Step::AwaitWell => return Ok(None),
        Step::Drain => match intent.action.finds() {
            Some(machine) => Work::Drain { machine },
            None => Work::Nothing,
        },
        Step::Fence => match (old_instance(state, intent), lease(state, intent)) {
            (Some((provisioner, instance)), lease) => Work::Fence {
                provisioner,
                instance,
                lease,
                failed: failed(state, intent),
                begins: begins(state, intent),
                begun: record.begun.is_some(),
            },
            (None, Some(lease)) => Work::AwaitLease { lease },
            (None, None) => unless_unaccounted(state, intent)?,
        },
        Step::Strike => strike(state, intent),
        Step::Destroy => match old_instance(state, intent) {
            Some((provisioner, instance)) if intent.fenced == Some(Fenced::LeaseOver) => {
                Work::DestroyIfOff {
                    provisioner,
                    instance,
                    failed: failed(state, intent),
                }
            }
            Some((provisioner, instance)) => Work::Destroy {
                provisioner,
                instance,
                failed: failed(state, intent),
                begins: begins(state, intent),
                begun: record.begun.is_some(),
            },
            None => Work::Nothing,
        },
        Step::Provision => provision(state, intent, surroundings)?,
        Step::RestartWorkload | Step::Reboot | Step::PowerCycle => treat(state, intent)?,
        Step::Reimage => reimage(state, intent, surroundings)?,
    };
    Ok(Some(Job {
        op: intent.op.clone(),
        step: record.step,
        attempt: record.attempts,
        work,
    }))
}

/// Whether it is still to go on record that the machine may be destroyed. What everybody refuses is spared by nobody.
fn begins(state: &FleetState, intent: &Intent) -> bool {
    let machine = intent.action.finds().and_then(|id| state.machines.get(&id));
    let begun = intent.current().and_then(|record| record.begun);
    begun.is_none() && machine.is_some_and(|machine| !machine.condemned)
}

/// Of what the machine failed that is replaced; `None` for one that is taken away, or that was well when a person wanted to have
/// it replaced.
fn failed(state: &FleetState, intent: &Intent) -> Option<String> {
    if !matches!(intent.action, Action::Replace { .. }) {
        return None;
    }
    let decision = state.decision(intent.decision);
    let was_lost = matches!(intent.was, Some(Phase::Lost { .. }));
    if intent.asked.is_some() && !was_lost && !decision.is_some_and(Decision::saw_failure) {
        return None;
    }
    let cause = decision.map(|decision| decision.proposal.cause.to_string());
    let cause = cause.unwrap_or_else(|| "it failed".to_owned());
    Some(format!("{}: {cause}", intent.op))
}

/// The lease under which the machine that is taken away promised to run its workload.
fn lease(state: &FleetState, intent: &Intent) -> Option<(MachineId, LeaseTerms)> {
    let machine = state.machines.get(&intent.action.removes()?)?;
    // Whoever leads where an unaccounted one is may renew its lease.
    let machine = Some(machine).filter(|machine| machine.unaccounted_ms.is_none())?;
    Some((machine.id, machine.lease?))
}

/// A machine that nobody can prove off, and that ran nothing under a lease, is no obstacle; but one that does, and is
/// unaccounted for, is.
fn unless_unaccounted(state: &FleetState, intent: &Intent) -> Result<Work, JobError> {
    let machine = intent.action.removes();
    let machine = machine.and_then(|id| state.machines.get(&id));
    match machine.filter(|one| one.lease.is_some() && one.unaccounted_ms.is_some()) {
        Some(machine) => Err(JobError(format!(
            "nobody can prove {0} off, and it is unaccounted for: make sure that it is off, then `muster forget {0}`",
            machine.name
        ))),
        None => Ok(Work::Nothing),
    }
}

/// Whoever of its group is in the mesh may strike a machine off.
fn strike(state: &FleetState, intent: &Intent) -> Work {
    let machine = intent
        .action
        .removes()
        .and_then(|id| state.machines.get(&id));
    let Some((machine, place)) = machine.and_then(|one| Some((one, one.place.as_ref()?))) else {
        return Work::Nothing;
    };
    let others = state.group_machines(&intent.group);
    let others = others.filter(|other| other.id != machine.id && other.phase == Phase::Joined);
    Work::Strike {
        machine: machine.id,
        member: place.member.to_string(),
        by: others.map(|other| other.id).collect(),
    }
}

fn treat(state: &FleetState, intent: &Intent) -> Result<Work, JobError> {
    let Action::Treat { machine, rung, .. } = intent.action else {
        return Err(JobError(format!("{} treats no machine", intent.op)));
    };
    if rung == Rung::RestartWorkload {
        return Ok(Work::RestartWorkload { machine });
    }
    let (provisioner, instance) = old_instance(state, intent)
        .ok_or_else(|| JobError(format!("no provisioner made {}", intent.name)))?;
    Ok(Work::Reboot {
        provisioner,
        instance,
        rung,
    })
}

/// What is to be treated or taken away, and its provisioner's name; `None` for a machine that no provisioner made.
fn old_instance(state: &FleetState, intent: &Intent) -> Option<(String, Target)> {
    let machine = state.machines.get(&intent.action.finds()?)?;
    if let Some(instance) = &machine.instance {
        return Some((
            instance.provisioner.clone(),
            Target::Known(instance.id.clone()),
        ));
    }
    let op = machine.order.clone()?;
    let provisioner = state.template(machine)?.instance.provisioner.clone();
    Some((
        provisioner,
        Target::Ordered {
            op,
            ended_ms: calls_ended_ms(intent, machine),
        },
    ))
}

/// By when all calls that a machine's order led to have come to an end. For a pet that was given up that matters:
/// whoever led before may have asked for it a moment earlier, and until the call's deadline it may still come.
fn calls_ended_ms(intent: &Intent, machine: &Machine) -> u64 {
    let deadline_ms = u64::try_from(STEP_DEADLINE.as_millis()).unwrap_or(u64::MAX);
    match intent.was {
        Some(Phase::Lost { at_ms }) if machine.is_pet() => at_ms.saturating_add(deadline_ms),
        _ => machine.ordered_ms,
    }
}

fn provision(
    state: &FleetState,
    intent: &Intent,
    surroundings: &Surroundings<'_>,
) -> Result<Work, JobError> {
    let (provisioner, spec, asked) = new_machine(state, intent, surroundings)?;
    Ok(Work::Provision {
        provisioner,
        spec,
        asked,
    })
}

fn reimage(
    state: &FleetState,
    intent: &Intent,
    surroundings: &Surroundings<'_>,
) -> Result<Work, JobError> {
    let (_, spec, asked) = new_machine(state, intent, surroundings)?;
    match old_instance(state, intent) {
        Some((provisioner, Target::Known(instance))) => Ok(Work::Reimage {
            provisioner,
            instance,
            spec,
            asked,
            begun: intent
                .current()
                .is_some_and(|record| record.begun.is_some()),
        }),
        _ => Err(JobError(format!(
            "what {} runs on is not known",
            intent.name
        ))),
    }
}

/// A machine that is to be made: the name of the provisioner that its template says, what it is, and whom to ask about it.
type NewMachine = (String, Box<MachineSpec>, Option<Box<Asked>>);

/// The machine that an intent makes.
fn new_machine(
    state: &FleetState,
    intent: &Intent,
    surroundings: &Surroundings<'_>,
) -> Result<NewMachine, JobError> {
    let missing = |what: &str| JobError(format!("the fleet state has no {what} for {}", intent.op));
    let machine = intent
        .action
        .makes()
        .and_then(|id| state.machines.get(&id))
        .ok_or_else(|| missing("machine"))?;
    let place = machine.place.as_ref().ok_or_else(|| missing("place"))?;
    let template = machine
        .revision
        .and_then(|revision| state.groups.get(&place.group)?.templates.get(&revision))
        .ok_or_else(|| missing("template"))?;
    let spec = machine_spec(state, intent, machine, place, template, surroundings);
    let (spec, asked) = prepare(state, place, template, spec)?;
    let provisioner = template.instance.provisioner.clone();
    Ok((provisioner, Box::new(spec), asked.map(Box::new)))
}

fn machine_spec(
    state: &FleetState,
    intent: &Intent,
    machine: &Machine,
    place: &Place,
    template: &Template,
    surroundings: &Surroundings<'_>,
) -> MachineSpec {
    let mut spec = MachineSpec::new(
        machine.name.to_string(),
        template.instance.properties.clone(),
    );
    spec.logical_id = place.member.is_pet().then(|| place.member.to_string());
    spec.labels = template.labels.clone();
    if let Some(zone) = &machine.zone {
        spec.labels.insert("zone".to_owned(), zone.clone());
    }
    spec.tags = Tags::new()
        .with(tag::GROUP, place.group.to_string())
        .with(tag::MEMBER, place.member.to_string())
        .with(tag::GENERATION, place.generation.to_string());
    if let Some(cluster) = &state.cluster {
        spec.tags.insert(tag::CLUSTER, cluster.id.to_string());
    }
    if let Some(revision) = machine.revision {
        spec.tags.insert(tag::REVISION, revision.to_string());
    }
    spec.attachments = attachments(state, place);
    spec.boot = BootConfig {
        seeds: seeds(state, intent, surroundings),
        join_token: (surroundings.token)(machine.id, &intent.op),
        group: place.group.to_string(),
        member: place.member.to_string(),
        settings: surroundings.settings.clone(),
    };
    spec
}

/// Whom a new machine asks to let it in: nobody who is no more by then. One that is reimaged even has the address itself.
fn seeds(state: &FleetState, intent: &Intent, surroundings: &Surroundings<'_>) -> Vec<SocketAddr> {
    let old = intent.action.removes();
    let old = old.and_then(|old| state.machines.get(&old)?.addr);
    let others = surroundings.seeds.iter().copied();
    others.filter(|seed| Some(*seed) != old).collect()
}

fn attachments(state: &FleetState, place: &Place) -> Vec<muster_provisioners::Attachment> {
    let Some(group) = state.groups.get(&place.group) else {
        return Vec::new();
    };
    match &group.spec.allocation {
        Allocation::Cattle { .. } => Vec::new(),
        Allocation::Pets { members } => members
            .iter()
            .find(|(name, _)| name.to_string() == place.member.to_string())
            .map(|(_, pet)| pet.attachments.clone())
            .unwrap_or_default(),
    }
}

fn prepare(
    state: &FleetState,
    place: &Place,
    template: &Template,
    spec: MachineSpec,
) -> Result<(MachineSpec, Option<Asked>), JobError> {
    let Some(group) = state.groups.get(&place.group) else {
        return Ok((spec, None));
    };
    let allocation = for_flavor(&group.spec.allocation);
    let problems = |problems: Vec<muster_provisioners::Problem>| {
        let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
        JobError(format!(
            "flavor {}: {}",
            template.flavor.name,
            all.join("; ")
        ))
    };
    let flavor = flavors::Registry::builtin()
        .build(
            &template.flavor.name,
            &template.flavor.properties,
            &allocation,
        )
        .map_err(problems)?;
    let peers = peers(state, place);
    let here = flavors::Place {
        group: place.group.as_str(),
        member: &place.member.to_string(),
        allocation: &allocation,
        peers: &peers,
    };
    let spec = flavor.prepare(spec, &here).map_err(problems)?;
    let asked = flavor.must_be_asked().then(|| Asked {
        flavor: template.flavor.clone(),
        group: here.group.to_owned(),
        member: here.member.to_owned(),
        allocation: allocation.clone(),
        peers: peers.clone(),
    });
    Ok((spec, asked))
}

/// The other members of a place's group that joined.
pub(crate) fn peers(state: &FleetState, place: &Place) -> Vec<flavors::PeerMember> {
    state
        .machines
        .values()
        .filter(|machine| machine.joined_ms.is_some() && machine.fills_its_slot())
        .filter_map(|machine| {
            let other = machine.place.as_ref()?;
            (other.group == place.group && other.member != place.member).then(|| {
                flavors::PeerMember {
                    member: other.member.to_string(),
                    machine: machine.name.to_string(),
                    address: machine.addr.map(|addr| addr.ip()),
                    part: None,
                }
            })
        })
        .collect()
}
