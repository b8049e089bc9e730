//! One machine of the roster, as `status` shows it.

use std::net::SocketAddr;

use super::snapshot::Snapshot;
use crate::api::types::{HealthLevel, InstanceRow, MachineRow, MachineState};
use crate::fleet::{Diagnosis, Instance, Leaving, Machine, MemberStatus, Phase, Subject};
use crate::heal::timing::REBOOT_MS_MAX;
use crate::health::Level;
use crate::node::world::Seen;

/// How long after its admission a machine that nobody here has heard of is still on its way, in milliseconds: the
/// admission comes with the log, the news of the new member with gossip, which takes a few rounds.
const SPREAD_MS: u64 = 10_000;

/// How a machine is, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) state: MachineState,
    /// In milliseconds since 1970.
    pub(super) since_ms: u64,
    /// Whether it is down because it restarts, as it said, and still has time to be back.
    pub(super) reboots: bool,
}

impl Condition {
    fn new(state: MachineState, since_ms: u64) -> Self {
        Self {
            state,
            since_ms,
            reboots: false,
        }
    }

    /// Whether the machine ought to be there and isn't.
    pub(super) fn has_failed(self) -> bool {
        matches!(self.state, MachineState::Down | MachineState::Left) && !self.reboots
    }
}

/// What the roster and the mesh together say of a machine.
pub(super) fn condition(snapshot: &Snapshot<'_>, machine: &Machine) -> Condition {
    match machine.phase {
        Phase::Ordered => Condition::new(MachineState::Provisioning, machine.ordered_ms),
        Phase::Adopted { at_ms } => Condition::new(MachineState::Adopted, at_ms),
        Phase::Lost { at_ms } => Condition::new(MachineState::Down, at_ms),
        Phase::Left { at_ms, .. } => Condition::new(MachineState::Left, at_ms),
        Phase::Retiring => {
            Condition::new(MachineState::Destroying, retiring_since(snapshot, machine))
        }
        Phase::Joined => joined(snapshot, machine),
    }
}

fn joined(snapshot: &Snapshot<'_>, machine: &Machine) -> Condition {
    let joined_ms = machine.joined_ms.unwrap_or(machine.ordered_ms);
    match snapshot.world.members.get(&machine.id) {
        // Who answers is there, whatever it has heard about itself.
        seen if machine.id == snapshot.me => Condition::new(
            MachineState::Alive,
            seen.map_or(joined_ms, |seen| seen.since_ms),
        ),
        Some(seen) if seen.status == MemberStatus::Alive => {
            Condition::new(MachineState::Alive, alive_since(snapshot, seen, joined_ms))
        }
        Some(seen) => mesh_condition(snapshot, seen),
        None if snapshot.now_ms.saturating_sub(joined_ms) < SPREAD_MS => {
            Condition::new(MachineState::Provisioning, machine.ordered_ms)
        }
        None => Condition::new(MachineState::Down, unheard_since(snapshot, machine)),
    }
}

/// What the mesh says of a machine, and of one that does not answer what it said itself before: that it restarts. When
/// it isn't back in time, that is no goodbye any more.
pub(super) fn mesh_condition(snapshot: &Snapshot<'_>, seen: &Seen) -> Condition {
    match (seen.status, back_by_ms(seen)) {
        (MemberStatus::Alive, _) | (_, None) => {
            Condition::new(member_state(seen.status), seen.since_ms)
        }
        (_, Some(until_ms)) if snapshot.now_ms < until_ms => Condition {
            reboots: true,
            ..Condition::new(MachineState::Down, seen.since_ms)
        },
        (_, Some(until_ms)) => Condition::new(MachineState::Down, seen.since_ms.max(until_ms)),
    }
}

/// Since when a machine that answers has done so. One that was there when the machine that is asked began to look has
/// been there since its own life began, which its generation tells in seconds, and since it joined.
fn alive_since(snapshot: &Snapshot<'_>, seen: &Seen, joined_ms: u64) -> u64 {
    let mine = snapshot.world.members.get(&snapshot.me);
    let looks_since_ms = mine.map_or(0, |mine| mine.since_ms);
    let life_ms = seen.generation.0.saturating_mul(1000).max(joined_ms);
    if seen.since_ms < looks_since_ms.saturating_add(SPREAD_MS) {
        seen.since_ms.min(life_ms)
    } else {
        seen.since_ms
    }
}

/// Until when a machine said that it would be back, as far as that is waited for, in milliseconds since 1970; `None` if
/// it said nothing of the kind.
pub(super) fn back_by_ms(seen: &Seen) -> Option<u64> {
    let said = seen.said.as_ref()?;
    match said.leaving? {
        Leaving::Rebooting { until_ms } => {
            Some(until_ms.min(said.received_ms.saturating_add(REBOOT_MS_MAX)))
        }
        Leaving::ForGood => None,
    }
}

/// Since when nobody here has heard of a machine: since it fell silent, where a leader has put that on record; else
/// since it joined or, if that is later, since this machine looks.
fn unheard_since(snapshot: &Snapshot<'_>, machine: &Machine) -> u64 {
    fell_silent(snapshot, machine).unwrap_or_else(|| {
        let mine = snapshot.world.members.get(&snapshot.me);
        let looks_since_ms = mine.map_or(0, |seen| seen.since_ms);
        let joined_ms = machine.joined_ms.unwrap_or(machine.ordered_ms);
        joined_ms.max(looks_since_ms)
    })
}

/// Since when something is the matter with a machine by what is on record, in milliseconds since 1970.
fn fell_silent(snapshot: &Snapshot<'_>, machine: &Machine) -> Option<u64> {
    let concern = snapshot.state.concern(machine.id)?;
    concern.cause.since_ms()
}

fn retiring_since(snapshot: &Snapshot<'_>, machine: &Machine) -> u64 {
    let intent = machine
        .intent
        .as_ref()
        .and_then(|op| snapshot.state.intents.get(op));
    intent.map_or(machine.ordered_ms, |intent| intent.opened_ms)
}

/// The mesh's word in the API's words.
pub(super) fn member_state(status: MemberStatus) -> MachineState {
    match status {
        MemberStatus::Alive => MachineState::Alive,
        MemberStatus::Suspect => MachineState::Suspect,
        MemberStatus::Down => MachineState::Down,
        MemberStatus::Left => MachineState::Left,
    }
}

/// Health in the API's words.
pub(super) fn health_level(level: Level) -> HealthLevel {
    match level {
        Level::Ok => HealthLevel::Ok,
        Level::Warning => HealthLevel::Warning,
        Level::Critical => HealthLevel::Critical,
    }
}

/// The row of one machine.
pub(super) fn machine_row(snapshot: &Snapshot<'_>, machine: &Machine) -> MachineRow {
    let condition = condition(snapshot, machine);
    let seen = snapshot.world.members.get(&machine.id);
    let address = seen.map(|seen| seen.addr).or(machine.addr);
    let place = machine.place.as_ref();
    let mut labels = machine.labels.clone();
    if let Some(said) = seen.and_then(|seen| seen.said.as_ref()) {
        labels.extend(said.labels.clone());
    }
    MachineRow {
        name: machine.name.to_string(),
        machine_id: machine.id,
        // One that was let go by its group belongs to none until that is declared again.
        group: place
            .filter(|place| snapshot.state.groups.contains_key(&place.group))
            .map(|place| place.group.to_string()),
        member: place.map(|place| place.member.to_string()),
        instance: machine.instance.as_ref().map(|instance| InstanceRow {
            id: instance.id.to_string(),
            provisioner: instance.provisioner.clone(),
            properties: properties(instance, seen),
        }),
        address,
        api: api(snapshot, machine, seen, address),
        status: condition.state,
        diagnosis: diagnosis(snapshot, machine, condition).map(|diagnosis| diagnosis.to_string()),
        health: seen
            .and_then(|seen| seen.said.as_ref())
            .map(|said| health_level(said.health)),
        not_healable: machine.unfenceable.as_ref().map(ToString::to_string),
        unaccounted_ms: machine.unaccounted_ms,
        coordinator: snapshot.coordinates(machine.id),
        cordoned: super::hand::cordon(snapshot, machine),
        drained_ms: machine.drained_ms,
        labels,
        since_ms: condition.since_ms,
        as_of_ms: seen.map_or_else(
            || on_record(snapshot, machine),
            |seen| as_of(snapshot, seen, condition.state),
        ),
    }
}

/// What the provisioner said of an instance when it made it; for a process with the process ID that its agent says it
/// has now, which is another one after each restart.
fn properties(
    instance: &Instance,
    seen: Option<&Seen>,
) -> serde_json::Map<String, serde_json::Value> {
    let mut properties = match instance.properties.to_value() {
        serde_json::Value::Object(properties) => properties,
        _ => serde_json::Map::new(),
    };
    let pid = seen.and_then(|seen| seen.said.as_ref()?.pid);
    if let Some(pid) = pid.filter(|_| instance.provisioner == muster_provisioners::process::NAME) {
        properties.insert("pid".to_owned(), pid.into());
    }
    properties
}

/// All machines of the roster by name, where `web-2` comes before `web-10`.
pub(super) fn by_name(rows: &mut [MachineRow]) {
    rows.sort_by_cached_key(|row| (natural(&row.name), row.machine_id));
}

/// A name as one to sort by: what comes before its last digits, then their number, then the name itself.
pub(super) fn natural(name: &str) -> (String, u64, String) {
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = name.get(stem.len()..).unwrap_or_default().parse();
    (stem.to_owned(), number.unwrap_or(u64::MAX), name.to_owned())
}

/// What the fleet makes of a machine: what is on record about it, else what is plain to see. Of a machine that is
/// down and that no leader has looked at yet, nothing is known.
pub(super) fn diagnosis(
    snapshot: &Snapshot<'_>,
    machine: &Machine,
    condition: Condition,
) -> Option<Diagnosis> {
    let found = on_record_as(snapshot, machine);
    let is_silence = |found: Diagnosis| {
        !matches!(
            found,
            Diagnosis::Healthy | Diagnosis::WorkloadFailed | Diagnosis::Slow
        )
    };
    // What it is taken away for may be over by now.
    if condition.state == MachineState::Destroying && snapshot.world.is_active(machine.id) {
        return found
            .filter(|found| !is_silence(*found))
            .or(Some(Diagnosis::Healthy));
    }
    if found.is_some() {
        return found;
    }
    match (condition.state, machine.phase) {
        _ if condition.reboots => Some(Diagnosis::Rebooting),
        (MachineState::Alive, _) => Some(Diagnosis::Healthy),
        (MachineState::Suspect, _) => Some(Diagnosis::Suspected),
        (MachineState::Left, _) => Some(Diagnosis::Left),
        (MachineState::Provisioning | MachineState::Adopted, _) => Some(Diagnosis::Starting),
        (MachineState::Down, Phase::Lost { .. }) => Some(Diagnosis::NeverJoined),
        (MachineState::Down | MachineState::Destroying, _) => None,
    }
}

/// What was found when something was last decided about a machine that is not over.
fn on_record_as(snapshot: &Snapshot<'_>, machine: &Machine) -> Option<Diagnosis> {
    let concern = snapshot.state.concerns.get(&Subject::Machine(machine.id));
    let found = concern.and_then(|concern| concern.cause.found());
    let ordered = || {
        let intent = snapshot.state.intents.get(machine.intent.as_ref()?)?;
        let decision = snapshot.decision(intent.decision)?;
        decision.proposal.cause.found()
    };
    match machine.phase {
        Phase::Retiring => found.or_else(ordered),
        _ => found,
    }
}

/// What `--node` takes: the socket, where it is on this computer as far as addresses tell; else the address.
fn api(
    snapshot: &Snapshot<'_>,
    machine: &Machine,
    seen: Option<&Seen>,
    address: Option<SocketAddr>,
) -> Option<String> {
    let socket = seen
        .and_then(|seen| seen.said.as_ref())
        .and_then(|said| said.api.clone());
    let mine = snapshot.world.members.get(&snapshot.me);
    let same_computer = machine.id == snapshot.me
        || address.is_some_and(|address| {
            address.ip().is_loopback() || mine.is_some_and(|mine| mine.addr.ip() == address.ip())
        });
    socket
        .filter(|_| same_computer)
        .or_else(|| address.map(|address| address.to_string()))
}

/// The last sign of life that got here. Of a machine that is held to be alive that is now: the mesh tries it all
/// the time, and would know of silence within seconds.
pub(super) fn as_of(snapshot: &Snapshot<'_>, seen: &Seen, state: MachineState) -> u64 {
    // One that is being taken away answers up to its end.
    let answers = state == MachineState::Destroying && seen.status == MemberStatus::Alive;
    if state == MachineState::Alive || answers {
        return snapshot.now_ms;
    }
    let said_ms = seen.said.as_ref().map_or(0, |said| said.received_ms);
    said_ms.max(seen.since_ms)
}

/// The last sign of life on record of a machine that the mesh here knows nothing of.
fn on_record(snapshot: &Snapshot<'_>, machine: &Machine) -> u64 {
    if machine.id == snapshot.me {
        return snapshot.now_ms;
    }
    let joined_ms = machine.joined_ms.unwrap_or(machine.ordered_ms);
    fell_silent(snapshot, machine).unwrap_or(joined_ms)
}
