//! Groups: at a glance, and in full.

use std::collections::BTreeMap;

use super::census::{Census, Tally};
use super::intents::intent_row;
use super::rows::{Condition, back_by_ms, by_name, machine_row};
use super::snapshot::{Snapshot, number};
use crate::api::ApiError;
use crate::api::types::{
    BudgetRow, FailedRow, GroupDetail, GroupKind, GroupState, GroupStatus, HealMode, Hold, Listed,
    MachineState, RevisionUse,
};
use crate::fleet::limits::HOUR_MS;
use crate::fleet::{
    self, Backoff, Group, GroupId, Intent, Machine, Outcome, Pause, PauseKey, PauseScope, Phase,
    Rule, span,
};

/// All groups, without their machines.
pub(super) fn groups(snapshot: &Snapshot<'_>) -> Listed<GroupStatus> {
    Listed {
        as_of: snapshot.as_of(),
        items: group_rows(snapshot, &Census::of(snapshot)),
    }
}

/// The rows of all groups, by ID.
pub(super) fn group_rows(snapshot: &Snapshot<'_>, census: &Census<'_>) -> Vec<GroupStatus> {
    let groups = snapshot.state.groups.iter();
    groups
        .map(|(id, group)| group_status(snapshot, census, id, group))
        .collect()
}

/// One group with everything that belongs to it.
pub(super) fn group(snapshot: &Snapshot<'_>, id: &str) -> Result<GroupDetail, ApiError> {
    let (id, group) = snapshot.find_group(id)?;
    let census = Census::of(snapshot);
    let empty = Tally::default();
    let tally = census.group(id).unwrap_or(&empty);
    let mut machines: Vec<_> = tally
        .machines
        .iter()
        .map(|(machine, _)| machine_row(snapshot, machine))
        .collect();
    by_name(&mut machines);
    Ok(GroupDetail {
        answer: snapshot.as_of(),
        group: group_status(snapshot, &census, id, group),
        spec: group.spec.clone(),
        revisions: revisions(tally),
        budget: budget(snapshot, id, group),
        paused: snapshot
            .pause_of(id)
            .map(|(key, pause)| pause_words(key, pause, snapshot.now_ms)),
        intents: tally
            .intents
            .iter()
            .map(|intent| intent_row(snapshot, intent))
            .collect(),
        machines,
        orphans: super::status::orphans(snapshot, |group| group == Some(id.as_str())),
        without_lease: without_lease(group, tally),
        leader: snapshot.leader.map(|leader| snapshot.name_of(leader)),
    })
}

/// The pets that run without the lease that their group's spec asks for.
fn without_lease(group: &Group, tally: &Tally<'_>) -> Vec<String> {
    let machines = tally.machines.iter().map(|(machine, _)| *machine);
    let lacking = machines.filter(|machine| {
        group.spec.heal.lease.is_some() && machine.phase == Phase::Joined && machine.lease.is_none()
    });
    let mut names: Vec<_> = lacking.map(|machine| machine.name.to_string()).collect();
    names.sort();
    names
}

/// The row of one group.
pub(super) fn group_status(
    snapshot: &Snapshot<'_>,
    census: &Census<'_>,
    id: &GroupId,
    group: &Group,
) -> GroupStatus {
    let empty = Tally::default();
    let tally = census.group(id).unwrap_or(&empty);
    let running = tally
        .machines
        .iter()
        .filter(|(machine, condition)| condition.state == MachineState::Alive && !machine.condemned)
        .count();
    let holds = holds(snapshot, id, group, tally);
    GroupStatus {
        id: id.to_string(),
        kind: kind(group.spec.allocation.kind()),
        desired: number(group.desired()),
        running: number(running),
        state: state(snapshot, id, group, tally, &holds),
        failed: failed(snapshot, id, group, tally),
        holds: holds.into_iter().map(|(_, hold)| hold).collect(),
        heal_mode: heal_mode(group.spec.heal.mode),
        revision: group.revision.0,
    }
}

/// What is going on. A pause comes first, since a person wanted it; then what can't go on for want of a quorum; then
/// what is being repaired; then what a rule stops; then what nobody has decided yet; then growth and shrinking.
fn state(
    snapshot: &Snapshot<'_>,
    id: &GroupId,
    group: &Group,
    tally: &Tally<'_>,
    holds: &[(Rule, Hold)],
) -> GroupState {
    let heals = |intent: &&Intent| intent.action.heals();
    if snapshot.pause_of(id).is_some() {
        GroupState::Paused
    } else if holds.iter().any(|(rule, _)| *rule == Rule::Quorum) {
        GroupState::Holding
    } else if tally.intents.iter().any(heals) {
        GroupState::Healing
    } else if !holds.is_empty() {
        GroupState::Holding
    } else if has_failures(tally) {
        GroupState::Healing
    } else if is_changing(group, tally) {
        if only_shrinks(group, tally) {
            GroupState::Updating
        } else {
            GroupState::Provisioning
        }
    } else {
        GroupState::Converged
    }
}

/// Whether machines come or go, or have to.
fn is_changing(group: &Group, tally: &Tally<'_>) -> bool {
    let on_its_way = |(_, condition): &(&Machine, Condition)| {
        matches!(
            condition.state,
            MachineState::Provisioning | MachineState::Destroying
        )
    };
    let filling = tally.machines.iter().map(|(machine, _)| *machine);
    let filling = filling.filter(|machine| machine.fills_its_slot());
    let members: Vec<_> = filling
        .filter_map(|machine| Some(&machine.place.as_ref()?.member))
        .collect();
    group.destroying
        || !tally.intents.is_empty()
        || tally.machines.iter().any(on_its_way)
        || !group.is_made_of(&members)
}

/// Whether machines only go.
fn only_shrinks(group: &Group, tally: &Tally<'_>) -> bool {
    let being_made = |(machine, _): &&(&Machine, Condition)| machine.phase == Phase::Ordered;
    let going = |(machine, _): &&(&Machine, Condition)| machine.phase == Phase::Retiring;
    let going = tally.machines.iter().filter(going).count();
    let there = tally.machines.len();
    group.destroying
        || !tally.machines.iter().any(|seen| being_made(&seen))
            && there > group.desired()
            && there - going >= group.desired()
}

fn has_failures(tally: &Tally<'_>) -> bool {
    tally
        .machines
        .iter()
        .any(|(_, condition)| condition.has_failed())
}

/// What stops in a group: what is on record, and what can't get on record because no leader can commit it.
fn holds(
    snapshot: &Snapshot<'_>,
    id: &GroupId,
    group: &Group,
    tally: &Tally<'_>,
) -> Vec<(Rule, Hold)> {
    let mut holds = tally.holds.clone();
    let on_record = |holds: &[(Rule, Hold)], rule| holds.iter().any(|(held, _)| *held == rule);
    if !on_record(&holds, Rule::Paused) {
        let words = pauses_within(snapshot, id, tally);
        let paused = words.map(|words| (Rule::Paused, hold(Rule::Paused, words)));
        holds.splice(0..0, paused);
    }
    if let Some(backoff) = group
        .backoff(snapshot.now_ms)
        .filter(|backoff| backoff.suspended)
        && !on_record(&holds, Rule::Backoff)
    {
        holds.push((
            Rule::Backoff,
            hold(Rule::Backoff, backoff_words(backoff, snapshot.now_ms)),
        ));
    }
    holds.extend(reboots(snapshot, tally));
    if !snapshot.quorum.ok && (has_failures(tally) || is_changing(group, tally)) {
        // What this machine sees now says more than what a leader saw then.
        holds.retain(|(rule, _)| *rule != Rule::Quorum);
        holds.push((
            Rule::Quorum,
            hold(Rule::Quorum, snapshot.quorum.detail.clone()),
        ));
    }
    holds
}

/// Machines that said that they restart: until their time is over that is no failure. What the fleet itself restarts is
/// under way, and no hold.
fn reboots(snapshot: &Snapshot<'_>, tally: &Tally<'_>) -> Vec<(Rule, Hold)> {
    let waits = |(machine, condition): &&(&Machine, Condition)| {
        condition.reboots && machine.intent.is_none()
    };
    let machines = tally.machines.iter().filter(waits);
    machines
        .map(|(machine, _)| {
            let left = reboot_words(snapshot, machine);
            let detail = format!(
                "{} (rebooting): it said that it restarts; {left}",
                machine.name
            );
            (Rule::Evidence, hold(Rule::Evidence, detail))
        })
        .collect()
}

/// How long a machine that restarts still has: `it has 28 s left to be back`.
pub(super) fn reboot_words(snapshot: &Snapshot<'_>, machine: &Machine) -> String {
    let seen = snapshot.world.members.get(&machine.id);
    let until_ms = seen.and_then(back_by_ms).unwrap_or(snapshot.now_ms);
    let left = span(until_ms.saturating_sub(snapshot.now_ms));
    format!("it has {left} left to be back")
}

fn hold(rule: Rule, detail: String) -> Hold {
    Hold {
        rule: rule.to_string(),
        detail,
    }
}

/// Holds that stop the whole fleet.
pub(super) fn fleet_holds(snapshot: &Snapshot<'_>) -> Vec<Hold> {
    let wide = snapshot
        .pauses()
        .filter(|(key, _)| matches!(key.scope, PauseScope::Fleet | PauseScope::Zone(_)));
    let paused =
        wide.map(|(key, pause)| hold(Rule::Paused, pause_words(key, pause, snapshot.now_ms)));
    let quorum = (!snapshot.quorum.ok).then(|| hold(Rule::Quorum, snapshot.quorum.detail.clone()));
    paused.chain(quorum).collect()
}

/// The pauses that stop a group or machines of it, in sentences.
fn pauses_within(
    snapshot: &Snapshot<'_>,
    id: &GroupId,
    tally: &Tally<'_>,
) -> impl Iterator<Item = String> {
    let machines = || tally.machines.iter().map(|(machine, _)| *machine);
    snapshot.pauses().filter_map(move |(key, pause)| {
        let covers = key.scope.covers(id, None, None)
            || machines().any(|machine| key.scope.covers(id, Some(machine), None));
        covers.then(|| pause_words(key, pause, snapshot.now_ms))
    })
}

/// A pause in a sentence: `the fleet is paused for another 10 min by alice: moving racks`.
pub(super) fn pause_words(key: &PauseKey, pause: &Pause, now_ms: u64) -> String {
    let mut words = format!("{} is paused", key.scope);
    if let Some(name) = &key.name {
        words.push_str(&format!(" as `{name}`"));
    }
    if let Some(until_ms) = pause.until_ms {
        words.push_str(&format!(
            " for another {}",
            span(until_ms.saturating_sub(now_ms))
        ));
    }
    if let Some(by) = &pause.by {
        words.push_str(&format!(" by {by}"));
    }
    if !pause.reason.is_empty() {
        words.push_str(&format!(": {}", pause.reason));
    }
    words
}

/// Why nothing more is tried in a group: so many operations failed, or a pet died again and again with the same disk.
fn failed(
    snapshot: &Snapshot<'_>,
    id: &GroupId,
    group: &Group,
    tally: &Tally<'_>,
) -> Option<FailedRow> {
    let now_ms = snapshot.now_ms;
    let ends = format!(
        "when what made it fail is mended, `muster group resume {id}` has it tried at once"
    );
    if let Some(backoff) = group.suspended(now_ms) {
        return Some(FailedRow {
            since_ms: group.failures.back().copied().unwrap_or(now_ms),
            until_ms: backoff.until_ms,
            detail: format!("{}; {ends}", backoff_words(backoff, now_ms)),
        });
    }
    let machines = tally.machines.iter();
    machines.map(|(machine, _)| *machine).find_map(|machine| {
        let concern = snapshot.state.concern(machine.id)?;
        let Outcome::Hold {
            rule: Rule::Backoff,
            ..
        } = concern.outcome
        else {
            return None;
        };
        let member = &machine.place.as_ref()?.member;
        let suspected_ms = group.suspects_disk(member, now_ms)?;
        Some(FailedRow {
            since_ms: concern.since_ms,
            until_ms: suspected_ms.saturating_add(HOUR_MS),
            detail: format!(
                "{} died again and again with the same disk, and is kept as it is; {ends}",
                machine.name
            ),
        })
    })
}

fn backoff_words(backoff: Backoff, now_ms: u64) -> String {
    let wait = span(backoff.until_ms.saturating_sub(now_ms));
    format!(
        "{} operations failed without a success between them; nothing more is tried for {wait}",
        backoff.failed
    )
}

fn revisions(tally: &Tally<'_>) -> Vec<RevisionUse> {
    let mut used = BTreeMap::<u64, u32>::new();
    for revision in tally
        .machines
        .iter()
        .filter_map(|(machine, _)| machine.revision)
    {
        *used.entry(revision.0).or_default() += 1;
    }
    used.into_iter()
        .map(|(revision, machines)| RevisionUse { revision, machines })
        .collect()
}

pub(super) fn budget(snapshot: &Snapshot<'_>, id: &GroupId, group: &Group) -> BudgetRow {
    let per_hour = group.per_hour();
    let available = group.bucket.tokens(per_hour, snapshot.now_ms);
    BudgetRow {
        at_once: number(group.at_once()),
        in_repair: number(snapshot.state.removals(id)),
        available: f64::from(available),
        capacity: f64::from(per_hour),
        per_hour: f64::from(per_hour),
    }
}

/// Cattle or pets, in the API's words.
pub(super) fn kind(kind: fleet::GroupKind) -> GroupKind {
    match kind {
        fleet::GroupKind::Cattle => GroupKind::Cattle,
        fleet::GroupKind::Pets => GroupKind::Pets,
    }
}

/// The heal mode in the API's words.
pub(super) fn heal_mode(mode: fleet::HealMode) -> HealMode {
    match mode {
        fleet::HealMode::Observe => HealMode::Observe,
        fleet::HealMode::Approve => HealMode::Approve,
        fleet::HealMode::Auto => HealMode::Auto,
    }
}
