//! The fleet begins.

use muster_mesh::consensus::Seat;

use super::super::command::Found;
use super::super::event::EventKind;
use super::super::ids::machine_id;
use super::super::limits::CA_BYTES_MAX;
use super::super::machine::{Admission, Machine, Phase, Place};
use super::super::names::MachineName;
use super::super::refusal::Refusal;
use super::super::reply::Reply;
use super::super::rung::Treatments;
use super::super::state::{Cluster, FleetState};
use super::super::token::TokenId;
use super::values::{at_most, check_instance, check_labels, invalid};
use super::{About, Applied, Context};

/// The founder's order number.
const FIRST: u64 = 1;

impl FleetState {
    pub(super) fn found(&mut self, context: &Context<'_>, found: Found) -> Applied {
        at_most(
            "bytes in the CA certificate",
            found.ca_der.len(),
            CA_BYTES_MAX,
        )?;
        check_labels(&found.labels)?;
        found.instance.as_ref().map_or(Ok(()), check_instance)?;
        let place = found.place.map(|(group, member)| Place {
            group,
            member,
            generation: FIRST,
        });
        if let Some(place) = &place {
            check_name(place, &found.machine_name)?;
        }
        let id = machine_id(found.cluster, FIRST).ok_or_else(|| {
            Refusal::Invalid("this cluster ID makes an empty machine ID; draw another one".into())
        })?;
        self.cluster = Some(Cluster {
            id: found.cluster,
            name: found.name,
            ca_der: found.ca_der,
            founded_ms: context.now_ms,
        });
        self.sequence = FIRST;
        self.machines.insert(
            id,
            Machine {
                id,
                name: found.machine_name,
                place,
                zone: None,
                revision: None,
                instance: found.instance,
                order: None,
                addr: Some(found.addr),
                labels: found.labels,
                phase: Phase::Joined,
                intent: None,
                token: None,
                admission: Some(Admission {
                    token: TokenId(0),
                    key: found.key,
                }),
                ordered_ms: context.now_ms,
                made_ms: None,
                joined_ms: Some(context.now_ms),
                condemned: false,
                treatments: Treatments::default(),
                drained_ms: None,
                lease: None,
                unfenceable: None,
                unaccounted_ms: None,
            },
        );
        self.last_seat = Seat::FIRST;
        self.seats.insert(self.last_seat, id);
        self.note(
            context,
            EventKind::Founded,
            About::machine(id, "the fleet begins"),
        );
        Ok(Reply::Founded {
            machine: id,
            seat: self.last_seat,
        })
    }
}

fn check_name(place: &Place, called: &MachineName) -> Result<(), Refusal> {
    let name = place.member.machine_name(&place.group);
    if name == *called {
        return Ok(());
    }
    Err(invalid(format!(
        "member {} of group {} is called {name}, not {called}",
        place.member, place.group
    )))
}
