//! foca, wrapped: the only file besides the codec that knows its types' behaviour.
//!
//! foca decides what is believed of whom, refutes, disseminates, and relays indirect probes. It does not probe: its
//! probe cycle has one probe at a time, sends each ping once, and wakes up twice a second when idle. Our own inquiries
//! replace it, so of all foca's timers only the end of a suspicion is used; we make and deliver that one ourselves.

use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use foca::{Foca, Header, Message, NoCustomBroadcast, Notification, Runtime, Timer, TimerToken};
use rand::rngs::Xoshiro256PlusPlus;

use super::codec::{UPDATE_MIN, WireCodec, put_header, put_update, read_header, read_update};
use super::hint::Hint;
use super::life::Life;
use crate::identity::MachineId;
use crate::wire::{DATAGRAM_MAX, Reader, WireError};

pub(super) use foca::{Message as SwimMessage, State};

/// What one member believes of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) life: Life,
    pub(super) incarnation: u16,
    pub(super) state: State,
}

impl From<&foca::Member<Life>> for Update {
    fn from(member: &foca::Member<Life>) -> Self {
        Self {
            life: *member.id(),
            incarnation: member.incarnation(),
            state: member.state(),
        }
    }
}

impl From<Update> for foca::Member<Life> {
    fn from(
        Update {
            life,
            incarnation,
            state,
        }: Update,
    ) -> Self {
        Self::new(life, incarnation, state)
    }
}

/// A SWIM message taken apart.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    pub(super) src: Life,
    pub(super) src_incarnation: u16,
    pub(super) dst: Life,
    pub(super) message: Message<Life>,
    pub(super) updates: Vec<Update>,
}

impl Packet {
    /// The most bytes that a SWIM message may have: a datagram without the frame around it.
    const LEN_MAX: usize = DATAGRAM_MAX - 2 - Hint::ENCODED_MAX;

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > Self::LEN_MAX {
            return Err(WireError::Length);
        }
        let mut reader = Reader::new(bytes);
        let Header {
            src,
            src_incarnation,
            dst,
            message,
        } = read_header(&mut reader)?;
        // None of ours says these: a feed would have us believe third parties without looking, see `state`.
        if matches!(
            message,
            Message::Announce | Message::Feed | Message::Broadcast
        ) {
            return Err(WireError::Value);
        }
        let mut updates = Vec::new();
        if !reader.is_empty() {
            // Bounded by the input's length: a count that promises more fails when the bytes run out.
            let count = reader.u16()?;
            updates.reserve_exact(usize::from(count).min(reader.left().len() / UPDATE_MIN));
            for _ in 0..count {
                updates.push(Update::from(&read_update(&mut reader)?));
            }
        }
        reader.finish()?;
        Ok(Self {
            src,
            src_incarnation,
            dst,
            message,
            updates,
        })
    }

    /// Whether these bytes are a message that tells somebody of its death.
    pub(super) fn tells_of_death(bytes: &[u8]) -> bool {
        let header = read_header(&mut Reader::new(bytes));
        header.is_ok_and(|header| header.message == Message::TurnUndead)
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128);
        let header = Header {
            src: self.src,
            src_incarnation: self.src_incarnation,
            dst: self.dst,
            message: self.message.clone(),
        };
        put_header(&mut out, &header);
        // foca takes an announcement with anything behind it for malformed.
        if !self.updates.is_empty() {
            // At most as many as were decoded from a datagram, or one.
            out.extend_from_slice(&(self.updates.len() as u16).to_be_bytes());
            for update in &self.updates {
                put_update(&mut out, &(*update).into());
            }
        }
        out.freeze()
    }
}

/// What foca wants done: it calls back into this while it handles something.
#[derive(Debug, Default)]
struct Outbox {
    sends: Vec<(Life, Bytes)>,
    /// The token that foca accepts on timers now; `None` while it knows nobody alive.
    token: Option<TimerToken>,
    defunct: bool,
}

impl Runtime<Life> for Outbox {
    fn notify(&mut self, notification: Notification<'_, Life>) {
        match notification {
            Notification::Idle => self.token = None,
            Notification::Defunct => {
                self.token = None;
                self.defunct = true;
            }
            // Told apart by comparing the table with foca's, which also shows suspicions; foca does not report those.
            _ => {}
        }
    }

    fn send_to(&mut self, to: Life, data: &[u8]) {
        self.sends.push((to, Bytes::copy_from_slice(data)));
    }

    fn submit_after(&mut self, timer: Timer<Life>, _after: Duration) {
        match timer {
            // Not armed, see the module's doc; it carries the token that is valid from now on.
            Timer::ProbeRandomMember(token) => self.token = Some(token),
            // The table knows since when its dead are dead and forgets them in time.
            Timer::RemoveDown(_) => {}
            // Without foca's probe cycle and periodic tasks it submits no others.
            _ => {}
        }
    }
}

/// More beliefs than this at a time are found by one walk through foca's list.
const LOOKUPS_MAX: usize = 16;

/// foca with its outbox.
pub(super) struct Swim {
    foca: Foca<Life, WireCodec, Xoshiro256PlusPlus, NoCustomBroadcast>,
    outbox: Outbox,
    config: foca::Config,
    /// This life's incarnation, unless foca may have changed it since it was read.
    incarnation: Option<u16>,
    /// Where in foca's list each machine was found last: it has to be searched from its beginning otherwise.
    places: BTreeMap<MachineId, usize>,
}

impl Swim {
    pub(super) fn new(me: Life, rng: Xoshiro256PlusPlus) -> Self {
        let config = foca::Config {
            max_packet_size: NonZeroUsize::new(Packet::LEN_MAX).unwrap_or(NonZeroUsize::MIN),
            notify_down_members: true,
            // Periods, suspicion and forgetting are ours; the periodic tasks stay off.
            remove_down_after: None,
            ..foca::Config::simple()
        };
        let foca = Foca::new(me, config.clone(), rng, WireCodec::default());
        Self {
            foca,
            outbox: Outbox::default(),
            config,
            incarnation: None,
            places: BTreeMap::new(),
        }
    }

    pub(super) fn me(&self) -> Life {
        *self.foca.identity()
    }

    /// How often each update is sent on, and to how many at a time.
    pub(super) fn set_dissemination(&mut self, transmissions: u8, fanout: usize) {
        let transmissions = NonZeroU8::new(transmissions).unwrap_or(NonZeroU8::MIN);
        let fanout = NonZeroUsize::new(fanout).unwrap_or(NonZeroUsize::MIN);
        if (
            self.config.max_transmissions,
            self.config.num_indirect_probes,
        ) == (transmissions, fanout)
        {
            return;
        }
        self.config.max_transmissions = transmissions;
        self.config.num_indirect_probes = fanout;
        // Refused only when the probe's timing changes or a periodic task is switched on.
        let _ = self.foca.set_config(self.config.clone());
    }

    /// Everything that foca wanted sent since the last call.
    pub(super) fn take_sends(&mut self) -> Vec<(Life, Bytes)> {
        std::mem::take(&mut self.outbox.sends)
    }

    /// Whether foca gave up its identity since the last call.
    pub(super) fn take_defunct(&mut self) -> bool {
        std::mem::take(&mut self.outbox.defunct)
    }

    /// Number of updates still being passed on.
    pub(super) fn backlog(&self) -> usize {
        self.foca.updates_backlog()
    }

    /// Whether foca takes part: it knows somebody alive, and its own life is not over.
    pub(super) fn is_connected(&self) -> bool {
        self.outbox.token.is_some()
    }

    /// Hands a SWIM message to foca. An error means that foca refused it.
    pub(super) fn handle(&mut self, bytes: &[u8]) -> Result<(), foca::Error> {
        self.incarnation = None;
        self.foca.handle_data(bytes, &mut self.outbox)
    }

    /// Believes `update`, and passes it on if `broadcast`.
    pub(super) fn apply(&mut self, update: Update, broadcast: bool) {
        self.incarnation = None;
        // Fails only when an update does not encode, which ours always do.
        let _ = self
            .foca
            .apply_many(std::iter::once(update.into()), broadcast, &mut self.outbox);
    }

    /// Ends a suspicion: declares `life` down and tells it, if it is still suspect at `incarnation`; see the caller
    /// for what foca 2.0.0 does when it is not.
    pub(super) fn end_suspicion(&mut self, life: Life, incarnation: u16) {
        let Some(token) = self.outbox.token else {
            return;
        };
        let timer = Timer::ChangeSuspectToDown {
            member_id: life,
            incarnation,
            token,
        };
        let _ = self.foca.handle_timer(timer, &mut self.outbox);
    }

    /// Forgets a dead life.
    pub(super) fn forget(&mut self, life: Life) {
        self.places.remove(&life.machine);
        let _ = self
            .foca
            .handle_timer(Timer::RemoveDown(life), &mut self.outbox);
    }

    /// Sends updates to a few random members.
    pub(super) fn gossip(&mut self) {
        let _ = self.foca.gossip(&mut self.outbox);
    }

    /// Declares this life over, to a few members.
    pub(super) fn leave(&mut self) {
        let _ = self.foca.leave_cluster(&mut self.outbox);
    }

    /// Goes on as `life` and tells a few members.
    pub(super) fn renew(&mut self, life: Life) {
        self.incarnation = None;
        if self.foca.change_identity(life, &mut self.outbox).is_ok() {
            // foca takes itself for disconnected until it hears from somebody, and answers no pings until then.
            let _ = self
                .foca
                .apply_many(std::iter::empty(), false, &mut self.outbox);
        }
    }

    /// A message from this life as it is now, without updates.
    pub(super) fn packet(&mut self, dst: Life, message: Message<Life>) -> Packet {
        let (src, src_incarnation) = (self.me(), self.incarnation(dst));
        Packet {
            src,
            src_incarnation,
            dst,
            message,
            updates: Vec::new(),
        }
    }

    /// This life's incarnation. foca does not expose it, but writes it into every header.
    fn incarnation(&mut self, dst: Life) -> u16 {
        if let Some(incarnation) = self.incarnation {
            return incarnation;
        }
        let mut probe = Outbox::default();
        let _ = self.foca.announce(dst, &mut probe);
        let header = probe
            .sends
            .first()
            .and_then(|(_, bytes)| read_header(&mut Reader::new(bytes)).ok());
        self.incarnation = header.map(|header| header.src_incarnation);
        self.incarnation.unwrap_or(0)
    }

    /// This life as others should see it.
    pub(super) fn myself(&mut self) -> Update {
        let life = self.me();
        Update {
            life,
            incarnation: self.incarnation(life),
            state: State::Alive,
        }
    }

    /// What foca believes of each machine in `machines`, which must be sorted.
    pub(super) fn beliefs(&mut self, machines: &[MachineId]) -> Vec<Update> {
        if machines.len() <= LOOKUPS_MAX {
            let found = machines.iter().filter_map(|machine| self.belief(*machine));
            return found.collect();
        }
        self.foca
            .iter_membership_state()
            .filter(|member| machines.binary_search(&member.id().machine).is_ok())
            .map(Update::from)
            .collect()
    }

    fn belief(&mut self, machine: MachineId) -> Option<Update> {
        let is_it = |member: &&foca::Member<Life>| member.id().machine == machine;
        let members = || self.foca.iter_membership_state();
        let place = self.places.get(&machine);
        if let Some(member) = place.and_then(|place| members().nth(*place).filter(is_it)) {
            return Some(Update::from(member));
        }
        let place = members().position(|member| is_it(&member))?;
        let found = members().nth(place).map(Update::from);
        self.places.insert(machine, place);
        found
    }
}
