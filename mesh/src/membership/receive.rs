//! What arrives: datagrams, checked and cleaned before foca sees them.

use std::time::Duration;

use rand::RngExt;

use super::event::{Event, How, Member, Status};
use super::hint::Hint;
use super::life::Life;
use super::swim::{Packet, State, SwimMessage, Update};
use super::timers::Timer;
use super::{EVENTS_MAX, MEMBERS_MAX, Membership};
use crate::identity::{MachineId, Peer};
use crate::wire::{Kind, Reader, WireError, read_kind};

impl Membership {
    /// Takes a datagram that the transport authenticated as coming from `from`.
    ///
    /// Rubbish, and messages that claim another sender, are counted and ignored.
    pub fn handle_datagram(&mut self, now: Duration, from: Peer, datagram: &[u8]) {
        if self.left {
            return;
        }
        if self.events.len() >= EVENTS_MAX {
            self.stats.refused_full += 1;
            return;
        }
        self.forgive_lateness(now);
        match self.read_datagram(now, from, datagram) {
            Ok(()) => {
                self.stats.datagrams_in += 1;
                self.note_heard(now);
            }
            Err(_) => self.stats.malformed += 1,
        }
        self.flush(now);
    }

    fn read_datagram(
        &mut self,
        now: Duration,
        from: Peer,
        datagram: &[u8],
    ) -> Result<(), WireError> {
        let mut reader = Reader::new(datagram);
        let kind = read_kind(&mut reader)?;
        let hint = Hint::read(&mut reader)?;
        match kind {
            Kind::Swim => self.read_swim(now, from, reader.left())?,
            Kind::StateHash => {
                let (question, hash) = (reader.u8()? == 0, reader.u64()?);
                reader.finish()?;
                self.compare_hash(now, from, question, hash);
            }
            Kind::Receipt => {
                let (target, number) = (reader.machine()?, reader.u8()?);
                reader.finish()?;
                if let Some(inquiry) = self.inquiries.get_mut(&target)
                    && inquiry.answered(now, number).is_some()
                {
                    inquiry.receipts = inquiry.receipts.saturating_add(1);
                }
            }
            Kind::Entries | Kind::RecordsHash => return Err(WireError::Value),
        }
        if let Some(hint) = hint {
            self.note_hint(from.machine, hint);
        }
        Ok(())
    }

    fn note_hint(&mut self, from: MachineId, hint: Hint) {
        if Some(hint) > self.hint {
            self.events.push_back(Event::Hint { from, hint });
        }
    }

    fn read_swim(&mut self, now: Duration, from: Peer, bytes: &[u8]) -> Result<(), WireError> {
        let mut packet = Packet::decode(bytes)?;
        let me = self.swim.me();
        if packet.src.machine != from.machine || packet.src.machine == me.machine {
            self.stats.spoofed += 1;
            return Ok(());
        }
        if packet.dst.machine != me.machine {
            return Err(WireError::Value);
        }
        if !self.make_room(&packet) {
            self.stats.refused_full += 1;
            return Ok(());
        }
        let doubtful = self.take_doubtful_deaths(now, &mut packet);
        let cleaned = self.clean(now, &mut packet, !doubtful.is_empty());
        if matches!(cleaned, Cleaned::Ignore) {
            return Ok(());
        }
        let touched = self.touched(&packet);
        if !(touched.is_empty() && self.takes_by_itself(&packet)) {
            match cleaned {
                Cleaned::Changed => self.swim.handle(&packet.encode()),
                _ => self.swim.handle(bytes),
            }
            .map_err(|_| WireError::Value)?;
        }
        for life in doubtful {
            self.inquire(now, life, true);
        }
        self.absorb(now, touched, How::Told, true);
        self.react(now, from, &packet);
        Ok(())
    }

    /// Removes what foca need not see: what is no news here, which is most of it, since everything is told many times and
    /// foca searches its list for each. And what it must not see: news of our own death, which foca would act on at once while a new generation
    /// has to be made durable first; and messages to a former life of ours, which concern us unless they end it.
    fn clean(&mut self, now: Duration, packet: &mut Packet, mut changed: bool) -> Cleaned {
        let me = self.swim.me();
        if packet.dst.generation > me.generation {
            self.want_generation(now, packet.dst.generation, packet.src);
            return Cleaned::Ignore;
        }
        if packet.dst.generation < me.generation {
            if packet.message == SwimMessage::TurnUndead {
                return Cleaned::Ignore;
            }
            packet.dst = me;
            changed = true;
        }
        if packet.message == SwimMessage::TurnUndead {
            self.want_generation(now, me.generation, packet.src);
            // What remains is that the sender lives.
            packet.message = SwimMessage::Gossip;
            changed = true;
        }
        // Nobody makes us call at an address that we have not heard of otherwise.
        if let SwimMessage::PingReq { target: third, .. }
        | SwimMessage::IndirectAck { target: third, .. } = &packet.message
            && self.table.get(third.machine).is_none()
        {
            packet.message = SwimMessage::Gossip;
            changed = true;
        }
        let updates = packet.updates.len();
        let src = packet.src;
        packet.updates.retain(|update| {
            self.keep_own_update(now, *update, src)
                && self.is_news(update)
                && !self.is_ghost(update)
        });
        if changed || packet.updates.len() != updates {
            Cleaned::Changed
        } else {
            Cleaned::Unchanged
        }
    }

    /// Takes out deaths that may be old news, or none: a process that stood still finds in its socket what was said while it
    /// did, and would pass that on as if it were new; and who was dead to us until now may have taken everybody for dead, while
    /// it was itself that was cut off. Those whom it concerns are to be asked instead.
    fn take_doubtful_deaths(&mut self, now: Duration, packet: &mut Packet) -> Vec<Life> {
        if !self.has_just_woken(now) && !self.was_dead(packet.src.machine) {
            return Vec::new();
        }
        let (old, fresh): (Vec<Update>, Vec<Update>) = std::mem::take(&mut packet.updates)
            .into_iter()
            .partition(|update| {
                let row = self.table.get(update.life.machine);
                update.state == State::Down
                    && row.is_some_and(|row| row.life == update.life && row.status.is_active())
            });
        packet.updates = fresh;
        old.into_iter().map(|update| update.life).collect()
    }

    fn was_dead(&self, machine: MachineId) -> bool {
        let row = self.table.get(machine);
        self.config.safeguards.verified_imports && row.is_some_and(|row| !row.status.is_active())
    }

    /// Whether foca may see `update`; news about ourselves is acted on here.
    pub(super) fn keep_own_update(&mut self, now: Duration, update: Update, src: Life) -> bool {
        let me = self.swim.me();
        if update.life.machine != me.machine {
            return true;
        }
        if update.life.generation > me.generation {
            self.want_generation(now, update.life.generation, src);
            return false;
        }
        if update.life.generation < me.generation {
            return false;
        }
        match update.state {
            State::Down => {
                self.want_generation(now, me.generation, src);
                false
            }
            State::Suspect => {
                // foca objects by itself. That others had reason to doubt us says something about us (Lifeguard).
                if update.incarnation >= self.swim.myself().incarnation {
                    self.stats.self_suspected += 1;
                    if self.config.safeguards.local_health {
                        self.health.worse();
                    }
                }
                true
            }
            State::Alive => false,
        }
    }

    /// Whether `update` suspects a life that we do not know. foca would take that for a member; but those who know it
    /// decide about it, and it may be long dead and forgotten here.
    fn is_ghost(&self, update: &Update) -> bool {
        let known = self
            .table
            .get(update.life.machine)
            .is_some_and(|row| row.life == update.life);
        update.state == State::Suspect && !known && update.life.machine != self.swim.me().machine
    }

    /// Makes room for the strangers in `packet`, at the expense of the longest dead.
    fn make_room(&mut self, packet: &Packet) -> bool {
        if self.table.len() + packet.updates.len() < MEMBERS_MAX {
            return true;
        }
        let lives = packet
            .updates
            .iter()
            .map(|update| update.life)
            .chain([packet.src]);
        let strangers = lives
            .filter(|life| self.table.get(life.machine).is_none())
            .count();
        self.make_room_for(strangers)
    }

    pub(super) fn make_room_for(&mut self, strangers: usize) -> bool {
        while self.table.len() + strangers > MEMBERS_MAX {
            let Some(life) = self.table.longest_dead().map(|row| row.life) else {
                return false;
            };
            self.forget_life(life);
        }
        true
    }

    /// The machines about which `packet` may have changed foca's mind.
    fn touched(&self, packet: &Packet) -> Vec<MachineId> {
        let first_hand = Update {
            life: packet.src,
            incarnation: packet.src_incarnation,
            state: State::Alive,
        };
        // What was no news has been taken out.
        let updates = packet.updates.iter();
        let sender = Some(&first_hand).filter(|sender| self.is_news(sender));
        updates
            .chain(sender)
            .map(|update| update.life.machine)
            .collect()
    }

    /// Takes a message without news that foca has nothing to add to, from somebody whom it takes for alive: most of what
    /// arrives in a calm mesh. Whether it was such a message.
    fn takes_by_itself(&mut self, packet: &Packet) -> bool {
        let row = self.table.get(packet.src.machine);
        let is_active = row.is_some_and(|row| row.life == packet.src && row.status.is_active());
        if !self.swim.is_connected() || !is_active {
            return false;
        }
        match packet.message {
            SwimMessage::Ack(_) | SwimMessage::Gossip => true,
            SwimMessage::Ping(number) if self.swim.backlog() == 0 => {
                let answer = self.swim.packet(packet.src, SwimMessage::Ack(number));
                self.send(packet.src, &answer.encode());
                true
            }
            _ => false,
        }
    }

    /// Whether foca would believe `update`, by its own rules of what wins over what.
    pub(super) fn is_news(&self, update: &Update) -> bool {
        let Some(row) = self.table.get(update.life.machine) else {
            return true;
        };
        if row.life != update.life {
            return update.life.generation > row.life.generation;
        }
        match (row.status, update.state) {
            (Status::Down | Status::Left, _) => false,
            (_, State::Down) => true,
            (Status::Alive, State::Suspect) => update.incarnation >= row.incarnation,
            (Status::Alive | Status::Suspect, _) => update.incarnation > row.incarnation,
        }
    }

    /// Takes over what foca believes now of `machines`, and does what follows from each change.
    ///
    /// `spread`: what changed is news to others too.
    pub(super) fn absorb(
        &mut self,
        now: Duration,
        mut machines: Vec<MachineId>,
        how: How,
        spread: bool,
    ) {
        if machines.is_empty() {
            return;
        }
        machines.sort_unstable();
        machines.dedup();
        let (mut changed, mut rearm) = (false, self.table.active_count() == 0);
        for belief in self.swim.beliefs(&machines) {
            if belief.life.machine == self.swim.me().machine {
                continue;
            }
            for event in self.table.absorb(now, belief, how) {
                changed |= self.follow_up(now, &event);
                rearm |= concerns_the_dead(&event);
                self.events.push_back(event);
                if spread {
                    self.spread.tell_neighbours(belief);
                }
            }
        }
        if changed {
            self.rounds.membership_changed();
            self.compare_after_change(now);
            if rearm {
                self.plan_rejoin(now);
            }
            self.update_dissemination();
        }
    }

    /// Does what follows from one change. Whether it changed who is active.
    fn follow_up(&mut self, now: Duration, event: &Event) -> bool {
        match event {
            Event::Up { member, .. } => {
                self.drop_inquiry(member.machine);
                let phase = self.config.probe_period.mul_f64(self.rng.random());
                self.timers.set_no_later(Timer::Probe, now + phase);
                true
            }
            Event::Down { member, .. } | Event::Left { member } => {
                self.drop_inquiry(member.machine);
                let forget_at = now + self.config.remember_dead;
                self.timers.set_no_later(Timer::Forget, forget_at);
                true
            }
            Event::Suspect { member } => {
                let Member {
                    machine,
                    generation,
                    addr,
                    ..
                } = *member;
                self.corroborate(
                    now,
                    Life {
                        machine,
                        generation,
                        addr,
                    },
                );
                false
            }
            Event::Refuted { member } => {
                self.stats.refutations += 1;
                self.drop_inquiry(member.machine);
                false
            }
            Event::Renew { .. } | Event::Hint { .. } => false,
        }
    }

    /// What we do about a message besides what foca does.
    fn react(&mut self, now: Duration, from: Peer, packet: &Packet) {
        let src = packet.src;
        if !self
            .table
            .get(src.machine)
            .is_some_and(|row| row.life == src && row.status.is_active())
        {
            return;
        }
        if let Some(inquiry) = self.inquiries.get_mut(&src.machine) {
            inquiry.heard(now);
        }
        match &packet.message {
            SwimMessage::Ping(_) => self.probe_along(now, src.machine),
            SwimMessage::Ack(number) => self.settle(now, src.machine, *number, true),
            SwimMessage::ForwardedAck {
                origin,
                probe_number,
            } => {
                self.settle(now, origin.machine, *probe_number, false);
            }
            SwimMessage::PingReq {
                target,
                probe_number,
            } => {
                self.send_receipt(from, target.machine, *probe_number);
            }
            _ => {}
        }
    }
}

/// Whether somebody is dead now who was not before, or the other way round.
fn concerns_the_dead(event: &Event) -> bool {
    match event {
        Event::Up { previous, .. } => previous.is_some(),
        Event::Down { .. } | Event::Left { .. } => true,
        _ => false,
    }
}

/// What became of a message that was cleaned.
enum Cleaned {
    Ignore,
    Unchanged,
    Changed,
}
