//! The whole table on one stream: to join, and to repair what gossip missed.
//!
//! What a third party says is believed as far as it can do no harm. "Alive" about a life that we do not know, unless
//! we know nobody yet, only makes us knock there: the life may have ended so long ago that we have forgotten it.
//! "Down" about a life that we take for alive makes us look for ourselves, and tell it: if it lives, it needs a new
//! generation to be accepted where it is believed dead; this is how two halves of a healed partition find together
//! without declaring each other's healthy members dead first.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::codec::{UPDATE_MIN, put_update, read_update};
use super::config::MEMBERS_MAX;
use super::event::How;
use super::swim::{State, Update};
use super::{EVENTS_MAX, Membership};
use crate::identity::MachineId;
use crate::wire::{Reader, WIRE_VERSION, WireError, put_varint};

/// The largest state transfer: every member at its longest encoding.
pub const FULL_STATE_MAX: usize = 16 + (MEMBERS_MAX + 1) * UPDATE_LEN_MAX;

/// Format, machine, generation, IPv6 address, incarnation, state.
const UPDATE_LEN_MAX: usize = 1 + 8 + 10 + 19 + 3 + 1;
/// How many strangers of one transfer are knocked at. The rest has its turn after the next comparison.
const KNOCKS_MAX: usize = 256;

impl Membership {
    /// The table as bytes, for [`Command::PullState`](super::Command::PullState) and for the answer to one.
    pub fn full_state(&mut self) -> Bytes {
        let mut out = BytesMut::with_capacity(16 + (self.table.len() + 1) * 28);
        out.put_u8(WIRE_VERSION);
        put_update(&mut out, &self.swim.myself().into());
        put_varint(&mut out, self.table.len() as u64);
        for row in self.table.rows() {
            let state = match row.status {
                super::Status::Alive => State::Alive,
                super::Status::Suspect => State::Suspect,
                super::Status::Down | super::Status::Left => State::Down,
            };
            let update = Update {
                life: row.life,
                incarnation: row.incarnation,
                state,
            };
            put_update(&mut out, &update.into());
        }
        out.freeze()
    }

    /// Takes the table of `from`, whom the transport authenticated; both the asker and the asked give theirs.
    ///
    /// # Errors
    /// When the bytes are not a table, or not that of `from`; nothing is changed then.
    pub fn handle_full_state(
        &mut self,
        now: Duration,
        from: MachineId,
        bytes: &[u8],
    ) -> Result<(), WireError> {
        if self.left {
            return Ok(());
        }
        let (sender, updates) = decode(bytes).inspect_err(|_| self.stats.malformed += 1)?;
        if sender.life.machine != from || from == self.swim.me().machine {
            self.stats.spoofed += 1;
            return Err(WireError::Value);
        }
        if self.events.len() >= EVENTS_MAX {
            self.stats.refused_full += 1;
            return Ok(());
        }
        self.import(now, sender, updates);
        self.flush(now);
        Ok(())
    }

    fn import(&mut self, now: Duration, sender: Update, updates: Vec<Update>) {
        // We know nobody, so we have nobody to resurrect, and nobody else to ask.
        let trusting = self.table.active_count() == 0 || !self.config.safeguards.verified_imports;
        let mut touched = Vec::new();
        let mut strangers = Vec::new();
        if self.is_news(&sender) && self.make_room_for(1) {
            self.swim.apply(sender, true);
            touched.push(sender.life.machine);
        }
        if self
            .table
            .get(sender.life.machine)
            .is_some_and(|row| row.life == sender.life && !row.status.is_active())
        {
            self.tell_dead(sender.life);
        }
        for update in updates {
            match self.judge(now, update, sender, trusting) {
                Judgement::Ignore => {}
                // foca searches its list for what it need not look at.
                Judgement::Believe { .. } if !self.is_news(&update) => {}
                Judgement::Knock => strangers.push(update.life),
                Judgement::Doubt => {
                    self.tell_dead(update.life);
                    if let Some(life) = self.table.get(update.life.machine).map(|row| row.life) {
                        self.inquire(now, life, true);
                    }
                    if let Some(inquiry) = self.inquiries.get_mut(&update.life.machine) {
                        inquiry.accused = true;
                    }
                }
                Judgement::Believe { broadcast } => {
                    let room = self.table.get(update.life.machine).is_some()
                        || self.make_room_for(touched.len() + 1);
                    if room {
                        self.swim.apply(update, broadcast);
                        touched.push(update.life.machine);
                    }
                }
            }
        }
        self.absorb(now, touched, How::Told, !trusting);
        // The order of the sender's table is not random, but which of it is new to us is.
        for life in strangers.into_iter().take(KNOCKS_MAX) {
            self.knock(life);
        }
    }

    fn judge(
        &mut self,
        now: Duration,
        update: Update,
        sender: Update,
        trusting: bool,
    ) -> Judgement {
        if update.life.machine == self.swim.me().machine {
            return if self.keep_own_update(now, update, sender.life) {
                Judgement::Believe { broadcast: false }
            } else {
                Judgement::Ignore
            };
        }
        let believe = Judgement::Believe { broadcast: false };
        let Some(row) = self.table.get(update.life.machine) else {
            // Remembering a stranger's death would be of use only if we believed those who call it alive.
            return match update.state {
                _ if trusting => believe,
                State::Down => Judgement::Ignore,
                State::Alive | State::Suspect => Judgement::Knock,
            };
        };
        if update.life.generation < row.life.generation {
            return Judgement::Ignore;
        }
        let same_life = update.life == row.life;
        match update.state {
            _ if trusting && !same_life => believe,
            State::Down if !row.status.is_active() => Judgement::Ignore,
            State::Down if trusting => believe,
            State::Down => Judgement::Doubt,
            State::Alive | State::Suspect if same_life => Judgement::Believe { broadcast: true },
            State::Alive | State::Suspect => Judgement::Knock,
        }
    }
}

/// What becomes of one line of somebody's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    Ignore,
    Believe { broadcast: bool },
    Knock,
    Doubt,
}

fn decode(bytes: &[u8]) -> Result<(Update, Vec<Update>), WireError> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        WIRE_VERSION => {}
        other => return Err(WireError::Version(other)),
    }
    let sender = Update::from(&read_update(&mut reader)?);
    let count = reader.count(MEMBERS_MAX, UPDATE_MIN)?;
    let mut updates = Vec::with_capacity(count);
    for _ in 0..count {
        updates.push(Update::from(&read_update(&mut reader)?));
    }
    reader.finish()?;
    Ok((sender, updates))
}
