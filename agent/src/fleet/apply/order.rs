//! Whether the machine that an action orders can be had.

use muster_mesh::identity::MachineId;

use super::super::decision::Order;
use super::super::group::Group;
use super::super::ids::machine_id;
use super::super::limits::{INTENTS_OPEN_MAX, SEQUENCE_AHEAD_MAX, TRIAL_MS_MAX, WORD_BYTES_MAX};
use super::super::machine::{Machine, Place};
use super::super::names::{GroupId, Member};
use super::super::refusal::Refusal;
use super::super::spec::Allocation;
use super::super::state::FleetState;
use super::values::{at_most, invalid};

/// Who was in the place that an order is for.
#[derive(Clone, Copy)]
pub(super) enum Former<'a> {
    Nobody,
    Replaced(&'a Machine),
    /// The new machine is on the same hardware.
    Reimaged(&'a Machine),
}

impl<'a> Former<'a> {
    fn machine(self) -> Option<&'a Machine> {
        match self {
            Self::Nobody => None,
            Self::Replaced(machine) | Self::Reimaged(machine) => Some(machine),
        }
    }
}

impl FleetState {
    /// Whether the ordered machine can be had: number, name, place, template, token.
    pub(super) fn check_order(
        &self,
        id: &GroupId,
        group: &Group,
        order: &Order,
        machine: MachineId,
        former: Former<'_>,
    ) -> Result<Place, Refusal> {
        let cluster = self.cluster.as_ref().ok_or(Refusal::NotFounded)?.id;
        let ahead = order.sequence.checked_sub(self.sequence);
        if !ahead.is_some_and(|ahead| (1..=SEQUENCE_AHEAD_MAX).contains(&ahead)) {
            return Err(Refusal::Stale(
                format!(
                    "order {} is not one of the next after {}",
                    order.sequence, self.sequence
                )
                .into(),
            ));
        }
        if order.machine != machine || machine_id(cluster, order.sequence) != Some(machine) {
            return Err(invalid(
                "an order's machine ID does not follow from its number",
            ));
        }
        if order.token.is_none() {
            return Err(invalid("an order without a token for its machine"));
        }
        let zone_bytes = order.zone.as_ref().map_or(0, String::len);
        at_most("bytes in a zone's name", zone_bytes, WORD_BYTES_MAX)?;
        let trial_ms = usize::try_from(order.trial_ms).unwrap_or(usize::MAX);
        let longest = usize::try_from(TRIAL_MS_MAX).unwrap_or(usize::MAX);
        at_most("milliseconds of trial", trial_ms, longest)?;
        self.check_member(id, group, &order.member, former)?;
        let old = former.machine();
        let kept = old.and_then(|old| old.revision);
        let wanted = kept.filter(|kept| group.templates.contains_key(kept));
        if order.revision != wanted.unwrap_or(group.template) {
            return Err(Refusal::Stale(
                "the group's specification has changed".into(),
            ));
        }
        self.check_name_free(&order.member.machine_name(id), old.map(|old| old.id))?;
        self.check_roster_room()?;
        let open = self.open_intents().count();
        at_most("operations under way", open + 1, INTENTS_OPEN_MAX)?;
        Ok(Place {
            group: id.clone(),
            member: order.member.clone(),
            generation: order.sequence,
        })
    }

    fn check_member(
        &self,
        id: &GroupId,
        group: &Group,
        member: &Member,
        former: Former<'_>,
    ) -> Result<(), Refusal> {
        let replaced = former
            .machine()
            .and_then(|old| old.place.as_ref())
            .map(|place| &place.member);
        match (&group.spec.allocation, member) {
            (Allocation::Cattle { .. }, Member::Cattle(_))
                if matches!(former, Former::Reimaged(_)) =>
            {
                if replaced != Some(member) {
                    return Err(invalid("a machine that is reimaged keeps its place"));
                }
            }
            (Allocation::Cattle { .. }, Member::Cattle(ordinal)) => {
                let ahead = ordinal.checked_sub(group.next_ordinal);
                if ahead.is_none_or(|ahead| ahead > SEQUENCE_AHEAD_MAX) {
                    return Err(Refusal::Stale(
                        format!("{member} is not one of the next ordinals of group {id}").into(),
                    ));
                }
            }
            (Allocation::Pets { members }, Member::Pet(name)) => {
                if !members.contains_key(name) {
                    return Err(Refusal::Stale(
                        format!("{name} is no member any more").into(),
                    ));
                }
                let is_open = |intent: &&_| intent_is_about(intent, id, member);
                if let Some(intent) = self.open_intents().find(is_open) {
                    let (group, member, op) = (id.clone(), member.clone(), intent.op.clone());
                    return Err(Refusal::MemberBusy { group, member, op });
                }
                // Two copies of a pet never run.
                let fits = match replaced {
                    Some(replaced) => replaced == member && self.holders(id, member) == 1,
                    None => !self.is_taken(id, member),
                };
                if !fits {
                    return Err(Refusal::Stale(format!("{name} has a machine").into()));
                }
            }
            _ => return Err(invalid("cattle are ordered by ordinal, and pets by name")),
        }
        Ok(())
    }
}

fn intent_is_about(intent: &super::super::Intent, id: &GroupId, member: &Member) -> bool {
    intent.group == *id && intent.member == *member
}
