//! Whom a leader asks about what, and what the answers are worth. The calls themselves are the shell's.
//!
//! Provisioners and witnesses are asked only about machines that are not well or are to go: a fleet at rest asks
//! nobody anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use muster_mesh::identity::MachineId;
use muster_provisioners::{Instance, InstanceState};

use super::proof::is_proved_off;
use super::situation::{MachineEvidence, Stranger};
use crate::fleet::{
    Allocation, DemandId, FleetState, GroupId, InstanceId, Machine, MemberStatus, OperationId,
    ProviderEvidence, ProviderWord, Text,
};

/// Machines that are asked to try a suspect, the leader not counted.
const WITNESSES_MAX: usize = 3;

/// Where a machine stands, as far as failures come by place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Domain {
    /// Its zone, when it has one.
    pub zone: Option<String>,
    /// Its rack, when it has one. Racks of different zones may have the same name.
    pub rack: Option<String>,
}

impl Domain {
    /// That of a machine of the roster.
    pub fn of(machine: &Machine) -> Self {
        Self {
            zone: machine.known_zone().map(str::to_owned),
            rack: machine.labels.get("rack").cloned(),
        }
    }
}

/// A machine of the roster, as far as asking about it is concerned.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspect {
    /// Which machine.
    pub machine: MachineId,
    /// The name of the provisioner that made it, or was to.
    pub provisioner: Option<String>,
    /// Where it stands.
    pub domain: Domain,
    /// Where the roster says that it listens: for a leader that never heard of it in the mesh.
    pub addr: Option<SocketAddr>,
    /// It doesn't answer, or never came: witnesses are to try it.
    pub troubled: bool,
    /// Its provisioner's word is needed: it or its workload is in trouble, or it is to be taken away, or a person asks for
    /// something to be done to it.
    pub asked: bool,
    /// The order by hand that waits for it, if there is one: it is decided on a word of its provisioner from after it.
    pub demand: Option<DemandId>,
    instance: Option<InstanceId>,
    order: Option<OperationId>,
}

/// All machines of the roster, with what has to be asked about each. `status` is what the mesh says of a machine, and
/// `ill` whether it says itself that its workload has failed.
pub fn suspects(
    state: &FleetState,
    status: impl Fn(MachineId) -> Option<MemberStatus>,
    ill: impl Fn(MachineId) -> bool,
) -> Vec<Suspect> {
    // Counted once for each group: the roster may be large.
    let too_many: BTreeSet<&GroupId> = state
        .groups
        .iter()
        .filter(|(id, group)| group.destroying || state.existing(id) > group.desired())
        .map(|(id, _)| id)
        .collect();
    let suspect = |machine: &Machine| {
        let troubled = status(machine.id) != Some(MemberStatus::Alive);
        let instance = machine.instance.as_ref();
        let made_by = instance.map(|instance| instance.provisioner.clone());
        let demand = state.demand_on(machine.id).map(|(id, _)| id);
        Suspect {
            machine: machine.id,
            provisioner: made_by
                .or_else(|| Some(state.template(machine)?.instance.provisioner.clone())),
            domain: Domain::of(machine),
            addr: machine.addr,
            troubled,
            asked: troubled
                || ill(machine.id)
                || is_to_go(state, machine, &too_many)
                || demand.is_some(),
            demand,
            instance: instance.map(|instance| instance.id.clone()),
            order: machine.order.clone(),
        }
    };
    state.machines.values().map(suspect).collect()
}

/// Whether a machine is about to be taken away although it may be well.
fn is_to_go(state: &FleetState, machine: &Machine, too_many: &BTreeSet<&GroupId>) -> bool {
    let Some(place) = &machine.place else {
        return false;
    };
    let Some(group) = state.groups.get(&place.group) else {
        return false;
    };
    let surplus = match &group.spec.allocation {
        Allocation::Cattle { .. } => too_many.contains(&place.group),
        Allocation::Pets { members } => !members.contains_key(&machine.name),
    };
    group.destroying || machine.intent.is_some() || surplus
}

/// What a provisioner said when it was asked for all instances of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// When it was asked, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long a new instance may be missing from its list, in milliseconds.
    pub list_lag_ms: u64,
    /// Whether it can power an instance off, or destroy it, and prove that.
    pub can_prove_off: bool,
    /// Whether it can reboot an instance.
    pub can_reboot: bool,
    /// Whether it can take an instance's power away and give it back.
    pub can_power_cycle: bool,
    /// Whether it can write an instance's system anew.
    pub can_reimage: bool,
    /// Whether its instances are hardware, of which there is only so much.
    pub is_hardware: bool,
    /// The instances, or why it can't say.
    pub said: Result<Vec<Instance>, String>,
}

impl Suspect {
    /// What a list of this machine's provisioner says of it; `None` when its word is not needed.
    pub fn word(&self, listing: &Listing) -> Option<ProviderEvidence> {
        let word = match &listing.said {
            _ if !self.asked => return None,
            Err(why) => ProviderWord::CannotSay {
                why: Text::from(why.clone()),
            },
            Ok(instances) => instances
                .iter()
                .find(|instance| self.is(instance))
                .map_or(ProviderWord::Unknown, word),
        };
        Some(ProviderEvidence {
            word,
            can_prove_off: listing.can_prove_off,
            can_reboot: listing.can_reboot,
            can_power_cycle: listing.can_power_cycle,
            can_reimage: listing.can_reimage,
            is_hardware: listing.is_hardware,
            list_lag_ms: listing.list_lag_ms,
            at_ms: listing.at_ms,
        })
    }

    /// Whether an instance is this machine's: by its ID, or by the order that made it when nobody lived to say the ID.
    fn is(&self, instance: &Instance) -> bool {
        match &self.instance {
            Some(id) => instance.id == *id,
            None => self.order.is_some() && instance.operation() == self.order,
        }
    }
}

fn word(instance: &Instance) -> ProviderWord {
    match instance.state {
        InstanceState::Starting | InstanceState::Running | InstanceState::Stopping => {
            ProviderWord::Running
        }
        InstanceState::Stopped => ProviderWord::Stopped,
        InstanceState::Unknown => {
            let why = instance.properties.get("why");
            let why = why.and_then(|why| why.as_str());
            let why = why.unwrap_or("the provider does not know its state");
            ProviderWord::CannotSay { why: why.into() }
        }
    }
}

/// Instances with our tag that no machine of the roster runs on, from each provisioner's list.
pub fn strangers<'a>(
    state: &FleetState,
    lists: impl IntoIterator<Item = (&'a str, &'a Listing)>,
) -> Vec<Stranger> {
    let ours: BTreeSet<(&str, &str)> = state
        .machines
        .values()
        .filter_map(|machine| machine.instance.as_ref())
        .map(|instance| (instance.provisioner.as_str(), instance.id.as_str()))
        .collect();
    let mut strangers = Vec::new();
    for (provisioner, listing) in lists {
        let listed = listing.said.iter().flatten();
        let unknown = listed.filter(|known| !ours.contains(&(provisioner, known.id.as_str())));
        strangers.extend(unknown.map(|instance| Stranger {
            provisioner: provisioner.to_owned(),
            id: instance.id.clone(),
            properties: instance.properties.clone(),
            op: instance.operation(),
            may_run: instance.state.may_run(),
        }));
    }
    strangers
}

/// Who is to try a suspect: this machine (`me`) and up to [`WITNESSES_MAX`] of the machines that answer, given with
/// where they stand. From as many different zones as there are, and within a zone from as many racks, none from the
/// suspect's own zone as long as there are others, and from its own rack last.
pub fn choose_witnesses(
    me: MachineId,
    suspect: &Suspect,
    answering: impl IntoIterator<Item = (MachineId, Domain)>,
) -> Vec<MachineId> {
    let mut others: Vec<_> = answering
        .into_iter()
        .filter(|(machine, _)| *machine != me && *machine != suspect.machine)
        .collect();
    // Which ones differs from suspect to suspect, so that no machine is everybody's witness.
    others.sort_by_key(|(machine, _)| machine.get() ^ suspect.machine.get());
    let (mut zones, mut domains) = (BTreeSet::new(), BTreeSet::new());
    let mut rank = |domain: Domain| {
        let own_zone = domain.zone.is_some() && domain.zone == suspect.domain.zone;
        let own_rack = domain.rack.is_some() && domain == suspect.domain;
        let zone_again = !zones.insert(domain.zone.clone());
        let rack_again = !domains.insert(domain);
        (own_zone, own_rack, zone_again, rack_again)
    };
    let mut ranked: Vec<_> = others
        .into_iter()
        .map(|(machine, domain)| (rank(domain), machine))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut chosen: Vec<_> = ranked.into_iter().map(|(_, machine)| machine).collect();
    chosen.truncate(WITNESSES_MAX);
    chosen.push(me);
    chosen
}

/// The machines that their provisioners prove gone, with since when that has been known without a break. A new leader
/// starts anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proofs(BTreeMap<MachineId, u64>);

impl Proofs {
    /// Takes down what is proved now, and forgets what is not any more.
    pub fn note(
        &mut self,
        state: &FleetState,
        seen: &BTreeMap<MachineId, MachineEvidence>,
        now_ms: u64,
    ) {
        let is_off = |id: &MachineId| {
            let machine = state.machines.get(id);
            machine
                .zip(seen.get(id))
                .is_some_and(|(machine, seen)| is_proved_off(machine, seen))
        };
        self.0.retain(|id, _| is_off(id));
        for id in seen.keys().filter(|id| is_off(id)) {
            self.0.entry(*id).or_insert(now_ms);
        }
    }

    /// Each machine that is proved gone, with since when, in milliseconds since 1970.
    pub fn since(&self) -> &BTreeMap<MachineId, u64> {
        &self.0
    }
}
