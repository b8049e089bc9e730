//! One machine of a simulation.

use std::time::Duration;

use bytes::Bytes;

use crate::identity::{Generation, MachineId, Peer};
use crate::membership::{Config, Membership};
use crate::records::{self, Profile, RecordSigner, RecordVerifier, Records};

/// How a machine fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// All is well.
    Running,
    /// The process stands still: its host answers no probe of its port, since the socket is still open.
    Paused,
    /// The process is gone; the host answers that nothing listens.
    Killed,
    /// The host is gone.
    Off,
}

impl Condition {
    pub(super) fn runs(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// A machine, running or not.
pub(super) struct Node {
    pub(super) peer: Peer,
    pub(super) condition: Condition,
    pub(super) life: Option<Life>,
    /// What its disk says.
    pub(super) persisted: Generation,
    /// Datagrams that arrived while it was paused.
    pub(super) inbox: Vec<(Peer, Bytes)>,
    pub(super) wake_at: Option<Duration>,
    /// How often it has changed its mind about another.
    pub(super) changes: u64,
    lives: u64,
}

/// The cores of a running process.
pub(super) struct Life {
    /// Tells this process from its predecessors.
    pub(super) number: u64,
    pub(super) membership: Membership,
    pub(super) records: Records,
    pub(super) profile: Profile,
}

impl Node {
    pub(super) fn new(number: usize, rng: &mut impl rand::Rng) -> Self {
        Self::of(number, MachineId::random(rng))
    }

    pub(super) fn of(number: usize, machine: MachineId) -> Self {
        let ip = [10, (number >> 16) as u8, (number >> 8) as u8, number as u8];
        Self {
            peer: Peer {
                machine,
                addr: (ip, 7600).into(),
            },
            condition: Condition::Off,
            life: None,
            persisted: Generation(0),
            inbox: Vec::new(),
            wake_at: None,
            changes: 0,
            lives: 0,
        }
    }

    pub(super) fn start(
        &mut self,
        now: Duration,
        config: Config,
        seed: u64,
        seeds: &[Peer],
        publishes: bool,
    ) {
        // As the agent does it: with the wall clock, which here began in 2023.
        self.persisted = Generation::next(Some(self.persisted), 1_700_000_000 + now.as_secs());
        self.lives += 1;
        self.condition = Condition::Running;
        self.inbox.clear();
        self.wake_at = None;
        let mut membership = Membership::new(config, self.peer, self.persisted, seed);
        membership.join(now, seeds);
        let keys = SimulatedKeys(self.peer.machine);
        let mut records = Records::new(
            self.peer,
            self.persisted,
            !seed,
            Box::new(keys),
            Box::new(keys),
        );
        let profile = Profile {
            name: format!("machine-{}", self.peer.machine),
            ..Profile::default()
        };
        if publishes {
            records
                .set_profile(now, profile.clone())
                .expect("a small profile");
        }
        self.life = Some(Life {
            number: self.lives,
            membership,
            records,
            profile,
        });
    }

    pub(super) fn stop(&mut self, condition: Condition) {
        self.condition = condition;
        self.life = None;
        self.inbox.clear();
        self.wake_at = None;
    }

    pub(super) fn life_number(&self) -> u64 {
        self.lives
    }

    /// The generation in use.
    pub(super) fn generation(&self) -> Option<Generation> {
        self.life.as_ref().map(|life| life.membership.generation())
    }
}

impl Life {
    /// What the agent does with news of records: an announced leaving is no failure.
    pub(super) fn note_record(&mut self, event: records::Event) {
        let records::Event::Changed {
            machine, profile, ..
        } = event;
        if !profile || machine == self.membership.me().machine {
            return;
        }
        if let Some(record) = self.records.get(machine)
            && record
                .profile
                .as_ref()
                .is_some_and(|profile| profile.leaving.is_some())
        {
            self.membership.mark_leaving(machine, record.generation);
        }
    }
}

/// Stands for the machine's key: the signer's ID in front of the payload.
#[derive(Debug, Clone, Copy)]
struct SimulatedKeys(MachineId);

impl RecordSigner for SimulatedKeys {
    fn sign(&self, payload: Vec<u8>) -> Result<Vec<u8>, String> {
        Ok([&self.0.get().to_be_bytes()[..], &payload].concat())
    }
}

impl RecordVerifier for SimulatedKeys {
    fn verify(&self, signed: &[u8]) -> Option<(MachineId, Vec<u8>)> {
        let (machine, payload) = signed.split_first_chunk()?;
        Some((
            MachineId::new(u64::from_be_bytes(*machine))?,
            payload.to_vec(),
        ))
    }
}
