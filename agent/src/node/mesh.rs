//! The mesh task: owns the membership and the records, and with them the one sleep until the earliest timer.
//!
//! Everything that the two cores need from outside comes in here, through one bounded inbox beside the transport's
//! channel; everything that they want done goes out from here. Others see its [`World`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_mesh::clock::{Monotonic, Steady, unix_ms};
use muster_mesh::consensus::{At, LogGeneration, Replica};
use muster_mesh::identity::{Generation, MachineId, Peer};
use muster_mesh::membership::{self, Membership};
use muster_mesh::records::{self, Records};
use muster_mesh::state_dir::StateDir;
use muster_mesh::transport::{Inbound, InboundRequest, StreamKind, Transport};
use muster_mesh::wire::{Recipient, recipient};
use tokio::sync::{mpsc, oneshot, watch};

use super::hints::{Hints, Verdict};
use super::last_words::Flights;
use super::local_events::{LocalEvents, LocalKind};
use super::world::{Moment, Said, World};
use crate::fleet::{FleetState, Leaving};

pub(super) mod paint;
mod pull;

/// Inputs that wait for the task. Senders wait when it is full; nothing is dropped.
const INBOX_MAX: usize = 256;

/// How long an exchange of tables or records may take.
const EXCHANGE_DEADLINE: Duration = Duration::from_secs(10);

/// A wall clock that moved by more than this against the monotonic one has been set.
const CLOCK_STEP_MS: u64 = 1000;

/// Inputs taken in one go before timers are looked at again.
const BATCH_MAX: usize = 64;

/// Members that are heard of within this time of the agent's start were there before it.
const FIRST_LOOK: Duration = Duration::from_secs(10);

/// What others tell the mesh task.
#[derive(Debug)]
pub enum Input {
    /// Look for company at these machines.
    Join(Vec<Peer>),
    /// So many machines should exist.
    Expect(usize),
    /// What every datagram should carry from now on.
    Hint(membership::Hint),
    /// What this machine says of itself has changed: the rarely changing part.
    Profile(Box<records::Profile>),
    /// What this machine says of itself has changed: the often changing part.
    Vitals(records::Vitals),
    /// A machine has been taken off the roster; it need not be remembered.
    Forget(MachineId),
    /// Say goodbye, then tell when it has been said.
    Leave(oneshot::Sender<()>),
    /// A port was probed.
    Checked {
        /// Whose port.
        peer: Peer,
        /// In which life.
        generation: Generation,
        /// What came back.
        answer: membership::PortAnswer,
    },
    /// A table arrived, as the answer to ours.
    Table {
        /// Whose.
        from: MachineId,
        /// The table.
        bytes: Bytes,
    },
    /// Records that were asked for arrived.
    RecordsGot {
        /// From whom.
        from: Peer,
        /// The records; `None` when they did not come.
        answer: Option<Bytes>,
    },
    /// This machine has a new certificate.
    SignAgain,
}

/// A handle to the mesh task.
#[derive(Debug, Clone)]
pub struct Mesh {
    inbox: mpsc::Sender<Input>,
    world: watch::Receiver<Arc<World>>,
    flights: Arc<Flights>,
    clock: Monotonic,
    steady: Steady,
}

impl Mesh {
    /// The monotonic clock that pictures are painted by.
    pub fn clock(&self) -> Monotonic {
        self.clock
    }

    /// The same clock, as a time of day that nobody sets: what a leader judges waits and ages by.
    pub(super) fn steady(&self) -> Steady {
        self.steady
    }

    /// The last minutes of what peers, and this machine, said of themselves.
    pub(super) fn flights(&self) -> &Flights {
        &self.flights
    }

    /// Tells the task something, waiting for a place in its inbox. After the task has ended nothing happens.
    pub async fn tell(&self, input: Input) {
        // An error means that the task has ended, with the agent; there is nobody left to tell.
        let _ = self.inbox.send(input).await;
    }

    /// What the mesh looks like, now and whenever that changes.
    pub fn world(&self) -> watch::Receiver<Arc<World>> {
        self.world.clone()
    }

    /// What the mesh looks like now.
    pub fn look(&self) -> Arc<World> {
        Arc::clone(&self.world.borrow())
    }

    /// The present by the [steady](Self::steady) clock, and how the times of a picture are told by it.
    pub(super) fn moment(&self, world: &World) -> Moment {
        world.moment(self.steady.now_ms(), self.clock.now())
    }
}

/// Everything that the task is made of.
pub struct MeshTask {
    membership: Membership,
    records: Records,
    /// What each machine last said of itself, as others read it.
    said: BTreeMap<MachineId, Arc<Said>>,
    transport: Transport,
    inbound: mpsc::Receiver<Inbound>,
    requests: mpsc::Sender<InboundRequest>,
    inbox: mpsc::Receiver<Input>,
    own_inbox: mpsc::Sender<Input>,
    world: watch::Sender<Arc<World>>,
    hints: watch::Sender<Option<membership::Hint>>,
    judge: Hints,
    rumours: watch::Sender<LogGeneration>,
    replica: Replica<FleetState>,
    events: Arc<LocalEvents>,
    flights: Arc<Flights>,
    state_dir: Arc<StateDir>,
    clock: Monotonic,
    /// Wall clock at the origin of `clock`, as of the last painting: the wall clock may be set.
    origin_ms: u64,
    changed: bool,
    leaving: Option<oneshot::Sender<()>>,
}

/// What the task is given at the start.
pub struct MeshParts {
    /// The core that knows who is alive.
    pub membership: Membership,
    /// The core that knows what machines say of themselves.
    pub records: Records,
    /// The endpoint.
    pub transport: Transport,
    /// What the endpoint receives.
    pub inbound: mpsc::Receiver<Inbound>,
    /// Where requests go that are not for the mesh task.
    pub requests: mpsc::Sender<InboundRequest>,
    /// The greatest hint that was seen on any datagram, and is believed.
    pub hints: watch::Sender<Option<membership::Hint>>,
    /// The latest generation of the log that anybody spoke of, believed or not.
    pub rumours: watch::Sender<LogGeneration>,
    /// This machine's copy of the log, by which hints are judged.
    pub replica: Replica<FleetState>,
    /// What this machine observed, for `muster events`.
    pub events: Arc<LocalEvents>,
    /// Where new generations are made durable.
    pub state_dir: Arc<StateDir>,
    /// The clock of the cores.
    pub clock: Monotonic,
}

impl MeshTask {
    /// Makes the task and its handle. The task does nothing until it [runs](Self::run).
    pub fn new(parts: MeshParts) -> (Self, Mesh) {
        let (own_inbox, inbox) = mpsc::channel(INBOX_MAX);
        let now_ms = unix_ms();
        let membership = parts.membership;
        let alone = World::alone(membership.me(), membership.generation(), now_ms);
        let (world, watched) = watch::channel(Arc::new(alone));
        let flights = Arc::new(Flights::new(membership.me().machine));
        let mesh = Mesh {
            inbox: own_inbox.clone(),
            flights: Arc::clone(&flights),
            world: watched,
            clock: parts.clock,
            steady: Steady::start(parts.clock),
        };
        let task = Self {
            membership,
            records: parts.records,
            said: BTreeMap::new(),
            transport: parts.transport,
            inbound: parts.inbound,
            requests: parts.requests,
            inbox,
            own_inbox,
            world,
            hints: parts.hints,
            judge: Hints::default(),
            rumours: parts.rumours,
            replica: parts.replica,
            events: parts.events,
            flights,
            state_dir: parts.state_dir,
            clock: parts.clock,
            origin_ms: origin_ms(&parts.clock),
            changed: true,
            leaving: None,
        };
        (task, mesh)
    }

    /// Runs until the transport is closed or the goodbye has been said.
    pub async fn run(mut self) {
        let mut alarm = self.transport.alarm();
        loop {
            self.settle();
            if let Some(said) = self.leaving.take() {
                let _ = said.send(());
                return;
            }
            let timeout = earliest(self.membership.poll_timeout(), self.records.poll_timeout());
            alarm.set(timeout.map(|at| self.clock.at(at)));
            tokio::select! {
                // Datagrams before timers: a late answer is better than a false suspicion.
                biased;
                inbound = self.inbound.recv() => match inbound {
                    Some(inbound) => self.take_inbound(inbound),
                    None => return,
                },
                Some(input) = self.inbox.recv() => self.take_input(input),
                () = alarm.rings() => self.take_timeout(),
            }
            self.take_more();
        }
    }

    /// Takes what else is there already, so that one settling serves it all.
    fn take_more(&mut self) {
        for _ in 0..BATCH_MAX {
            if let Ok(inbound) = self.inbound.try_recv() {
                self.take_inbound(inbound);
            } else if let Ok(input) = self.inbox.try_recv() {
                self.take_input(input);
            } else {
                return;
            }
        }
    }

    fn take_timeout(&mut self) {
        let now = self.clock.now();
        self.membership.handle_timeout(now);
        self.records.handle_timeout(now);
        self.doubt_hints(now);
    }

    fn take_inbound(&mut self, inbound: Inbound) {
        let now = self.clock.now();
        match inbound {
            Inbound::Datagram { from, bytes } => match recipient(&bytes) {
                Some(Recipient::Membership) => self.membership.handle_datagram(now, from, &bytes),
                Some(Recipient::Records) => self.records.handle_datagram(now, from, &bytes),
                None => tracing::debug!(%from, "a datagram of an unknown kind"),
            },
            Inbound::PeerLost { peer, how } => {
                tracing::debug!(%peer, %how, "lost touch");
                self.membership.handle_unreachable_hint(now, peer.machine);
            }
            Inbound::Request(request) => self.take_request(request),
        }
    }

    fn take_input(&mut self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::Join(seeds) => self.membership.join(now, &seeds),
            Input::Expect(count) => self.membership.expect_members(now, count),
            Input::Hint(hint) => self.take_hint(now, hint),
            Input::Profile(profile) => {
                if let Err(error) = self.records.set_profile(now, *profile) {
                    tracing::error!(%error, "cannot publish what this machine says of itself");
                }
                self.changed = true;
            }
            Input::Vitals(vitals) => {
                self.records.set_vitals(now, vitals);
                self.changed = true;
            }
            Input::Forget(machine) => {
                self.membership.forget(machine);
                self.records.forget(machine);
                self.said.remove(&machine);
                self.changed = true;
            }
            Input::Leave(said) => {
                self.membership.leave(now);
                self.leaving = Some(said);
            }
            Input::Checked {
                peer,
                generation,
                answer,
            } => {
                self.membership
                    .handle_check(now, peer.machine, generation, answer);
            }
            Input::Table { from, bytes } => {
                if let Err(error) = self.membership.handle_full_state(now, from, &bytes) {
                    tracing::debug!(%from, %error, "refused a table");
                }
            }
            Input::RecordsGot { from, answer } => match answer {
                Some(bytes) => {
                    if let Err(error) = self.records.handle_pull_response(now, from, &bytes) {
                        tracing::debug!(%from, %error, "refused records");
                    }
                }
                None => self.records.handle_pull_failed(now, from.machine),
            },
            Input::SignAgain => {
                if let Err(error) = self.records.sign_again(now) {
                    tracing::error!(%error, "cannot sign what this machine says of itself");
                }
            }
        }
    }

    /// Fetches everything that the cores want done, does it, and publishes what changed.
    fn settle(&mut self) {
        let now = self.clock.now();
        while let Some(event) = self.membership.poll_event() {
            self.take_event(now, event);
        }
        while let Some(event) = self.records.poll_event() {
            self.take_record_event(event);
        }
        while let Some(command) = self.membership.poll_command() {
            self.obey(command);
        }
        while let Some(pull) = self.records.poll_command() {
            self.pull_records(pull);
        }
        while let Some(transmit) = self.membership.poll_transmit() {
            self.transport.send(transmit.to, transmit.bytes);
        }
        while let Some(transmit) = self.records.poll_transmit() {
            self.transport.send(transmit.to, transmit.bytes);
        }
        self.changed |= self.world.borrow().attentive_since != self.membership.attentive_since();
        if std::mem::take(&mut self.changed) {
            let origin_ms = origin_ms(&self.clock);
            // Only when the wall clock was set, so that times don't tremble.
            if origin_ms.abs_diff(self.origin_ms) > CLOCK_STEP_MS {
                self.origin_ms = origin_ms;
                self.read_all();
            }
            self.world.send_replace(Arc::new(self.paint()));
        }
    }

    fn take_event(&mut self, now: Duration, event: membership::Event) {
        use membership::Event;
        match event {
            Event::Up { member, previous } => {
                self.records.peer_up(now, member.peer(), member.generation);
                self.flights.note_ended(member.machine, None);
                let detail = match previous {
                    Some(_) => "is back in a new life",
                    None if now < FIRST_LOOK => "was up when this machine looked first",
                    None => "is up",
                };
                self.note(LocalKind::Up, member.machine, detail);
            }
            Event::Suspect { member } => {
                self.note(LocalKind::Suspect, member.machine, "does not answer")
            }
            Event::Refuted { member } => {
                self.note(LocalKind::Alive, member.machine, "answers again")
            }
            Event::Down { member, how } => {
                self.records.peer_down(member.machine);
                self.flights.note_ended(member.machine, Some(now));
                self.note(LocalKind::Down, member.machine, paint::how(how));
            }
            Event::Left { member } => {
                self.records.peer_down(member.machine);
                self.flights.note_ended(member.machine, Some(now));
                let how = self.how_left(member.machine);
                self.note(LocalKind::Left, member.machine, how);
            }
            Event::Renew { generation } => self.renew(now, generation),
            Event::Hint { hint, .. } => return self.take_hint(now, hint),
            _ => {}
        }
        self.changed = true;
    }

    /// Passes a hint on as it is, if it is believed: that is how it reaches everybody.
    fn take_hint(&mut self, now: Duration, hint: membership::Hint) {
        match self.judge.consider(now, unix_ms(), hint, self.copy()) {
            Verdict::Believed => {
                self.membership.set_hint(Some(hint));
                self.hints.send_replace(Some(hint));
            }
            Verdict::Rumour(generation) => {
                self.rumours.send_if_modified(|known| {
                    let news = generation > *known;
                    *known = generation.max(*known);
                    news
                });
            }
            Verdict::Dropped => {}
        }
    }

    /// Drops what was believed, when it did not come true.
    fn doubt_hints(&mut self, now: Duration) {
        if self.judge.doubt(now, self.copy()) {
            self.membership.set_hint(None);
            self.hints.send_replace(None);
        }
    }

    fn copy(&self) -> (LogGeneration, Option<At>) {
        (self.replica.generation(), self.replica.at())
    }

    /// A new life after the mesh took this machine for dead: durable first, then used.
    fn renew(&mut self, now: Duration, lowest: Generation) {
        match self
            .state_dir
            .begin_generation(lowest.0.max(unix_ms() / 1000))
        {
            Ok(generation) => {
                tracing::warn!(%generation, "the mesh took this machine for dead; going on in a new life");
                self.membership.renewed(now, generation);
                if let Err(error) = self.records.renewed(now, generation) {
                    tracing::error!(%error, "cannot sign what this machine says of itself");
                }
            }
            Err(error) => {
                tracing::error!(%error, "cannot store a new generation; trying again when asked")
            }
        }
    }

    fn take_record_event(&mut self, event: records::Event) {
        let records::Event::Changed {
            machine,
            profile,
            vitals,
        } = event
        else {
            return;
        };
        if vitals
            && machine != self.membership.me().machine
            && let Some(record) = self.records.get(machine)
        {
            self.flights.note(record);
        }
        self.read(machine);
        if profile
            && let Some(record) = self.records.get(machine)
            && record
                .profile
                .as_ref()
                .is_some_and(|profile| profile.leaving.is_some())
        {
            self.membership.mark_leaving(machine, record.generation);
        }
        self.changed = true;
    }

    fn obey(&mut self, command: membership::Command) {
        let inbox = self.own_inbox.clone();
        match command {
            membership::Command::CheckPort { peer, generation } => {
                let transport = self.transport.clone();
                tokio::spawn(async move {
                    let answer = transport
                        .probe_port(peer.addr, membership::CHECK_TIMEOUT)
                        .await;
                    let answer = paint::port_answer(answer);
                    let _ = inbox
                        .send(Input::Checked {
                            peer,
                            generation,
                            answer,
                        })
                        .await;
                });
            }
            membership::Command::PullState(peer) => {
                let ours = self.membership.full_state();
                let transport = self.transport.clone();
                tokio::spawn(async move {
                    let asked =
                        transport.request(peer, StreamKind::MEMBERSHIP, ours, EXCHANGE_DEADLINE);
                    match asked.await {
                        Ok(bytes) => {
                            let table = Input::Table {
                                from: peer.machine,
                                bytes,
                            };
                            let _ = inbox.send(table).await;
                        }
                        Err(error) => tracing::debug!(%peer, %error, "could not exchange tables"),
                    }
                });
            }
        }
    }

    /// How a machine took its leave, by what it said before.
    fn how_left(&self, machine: MachineId) -> &'static str {
        let said = self.said.get(&machine).and_then(|said| said.leaving);
        match said {
            Some(Leaving::Rebooting { .. }) => "restarts, as it had said",
            Some(Leaving::ForGood) | None => "left as it had said",
        }
    }

    fn note(&self, kind: LocalKind, machine: MachineId, detail: &str) {
        tracing::info!(%machine, %kind, "{machine} {detail}");
        self.events
            .push((unix_ms(), self.clock.now()), kind, machine, detail);
    }
}

/// What the wall clock shows now, less what has passed on `clock`: the wall-clock time of its origin.
fn origin_ms(clock: &Monotonic) -> u64 {
    let elapsed = u64::try_from(clock.now().as_millis()).unwrap_or(u64::MAX);
    unix_ms().saturating_sub(elapsed)
}

fn earliest(one: Option<Duration>, two: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(two).min()
}
