//! How a simulation works: a queue of what happens, and a runtime for each machine's cores.

use std::cmp::Reverse;
use std::time::Duration;

use bytes::Bytes;

use super::Simulation;
use super::node::{Condition, Life};
use crate::identity::{Generation, MachineId, Peer};
use crate::membership::{Event, PortAnswer};
use crate::records;
use crate::wire::{Recipient, recipient, scatter};

/// Datagrams that a paused process finds when it goes on: what a socket's default buffer holds.
const SOCKET_BUFFER: usize = 256;
/// How long a runtime takes to make a new generation durable.
const PERSIST: Duration = Duration::from_millis(5);

/// Something that happens at a time.
#[derive(Debug)]
pub(super) enum Happening {
    /// A machine's earliest deadline.
    Wake(usize),
    /// A datagram arrives.
    Datagram { to: usize, from: Peer, bytes: Bytes },
    /// A request arrives at `node` on a stream, from life number `life` of `by`.
    Asked {
        node: usize,
        by: usize,
        life: u64,
        request: Request,
    },
    /// Something that life number `life` of `node` waits for.
    Answered {
        node: usize,
        life: u64,
        answer: Answer,
    },
}

/// What will happen, by the places that the queue has.
#[derive(Debug, Default)]
pub(super) struct Happenings {
    kept: Vec<Option<Happening>>,
    free: Vec<usize>,
}

impl Happenings {
    fn keep(&mut self, happening: Happening) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.kept[place] = Some(happening);
                place
            }
            None => {
                self.kept.push(Some(happening));
                self.kept.len() - 1
            }
        }
    }

    pub(super) fn take(&mut self, place: usize) -> Option<Happening> {
        let taken = self.kept.get_mut(place)?.take()?;
        self.free.push(place);
        Some(taken)
    }
}

/// What is asked on a stream.
#[derive(Debug)]
pub(super) enum Request {
    State(Bytes),
    Records(Bytes),
}

/// What a runtime hands to its cores besides datagrams.
#[derive(Debug)]
pub(super) enum Answer {
    Checked {
        machine: MachineId,
        generation: Generation,
        answer: PortAnswer,
    },
    State {
        by: MachineId,
        bytes: Bytes,
    },
    Records {
        by: Peer,
        bytes: Bytes,
    },
    RecordsFailed {
        by: MachineId,
    },
    Persisted(Generation),
}

impl Simulation {
    pub(super) fn stop(&mut self, node: usize, condition: Condition) {
        self.disturbed_at = self.now;
        if self.nodes[node].life.is_some() {
            self.findings.died(self.now, self.nodes[node].peer.machine);
        }
        self.nodes[node].stop(condition);
    }

    pub(super) fn schedule(&mut self, after: Duration, happening: Happening) {
        self.sequence += 1;
        let place = self.happenings.keep(happening);
        self.queue
            .push(Reverse((self.now + after, self.sequence, place)));
    }

    /// Adds to the fingerprint.
    fn note(&mut self, what: u64, node: usize, number: u64) {
        let nanos = self.now.as_nanos() as u64;
        let step = scatter(nanos ^ scatter(what << 32 | node as u64) ^ number);
        self.trace = scatter(self.trace ^ step);
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(node) => {
                if self.nodes[node].wake_at.is_some_and(|at| at <= self.now) {
                    self.nodes[node].wake_at = None;
                    self.wake(node);
                }
            }
            Happening::Datagram { to, from, bytes } => match self.nodes[to].condition {
                Condition::Running => self.deliver(to, from, &bytes),
                Condition::Paused if self.nodes[to].inbox.len() < SOCKET_BUFFER => {
                    self.nodes[to].inbox.push((from, bytes));
                }
                _ => {}
            },
            Happening::Asked {
                node,
                by,
                life,
                request,
            } => self.answer(node, by, life, &request),
            Happening::Answered { node, life, answer } => self.give(node, life, answer),
        }
    }

    fn give(&mut self, node: usize, life: u64, answer: Answer) {
        let now = self.now;
        self.with(node, life, |cores| match answer {
            Answer::Checked {
                machine,
                generation,
                answer,
            } => {
                cores
                    .membership
                    .handle_check(now, machine, generation, answer);
            }
            Answer::State { by, bytes } => {
                let taken = cores.membership.handle_full_state(now, by, &bytes);
                taken.expect("a core's own state decodes");
            }
            Answer::Records { by, bytes } => {
                let taken = cores.records.handle_pull_response(now, by, &bytes);
                taken.expect("a core's own answer decodes");
            }
            Answer::RecordsFailed { by } => cores.records.handle_pull_failed(now, by),
            Answer::Persisted(generation) => {
                cores.membership.renewed(now, generation);
                let signed = cores.records.renewed(now, generation);
                signed.expect("the simulated key always signs");
            }
        });
    }

    /// Gives input to the cores of `node` if it is still in that life and not paused. What waits in a stream of a
    /// paused process is lost here; cores must cope with that anyway.
    pub(super) fn with(&mut self, node: usize, life: u64, input: impl FnOnce(&mut Life)) {
        if self.nodes[node].condition != Condition::Running {
            return;
        }
        let cores = self.nodes[node].life.as_mut();
        if let Some(cores) = cores.filter(|cores| cores.number == life) {
            input(cores);
            self.settle(node);
        }
    }

    pub(super) fn deliver(&mut self, to: usize, from: Peer, bytes: &Bytes) {
        let now = self.now;
        let life = self.nodes[to].life_number();
        self.note(1, to, bytes.len() as u64);
        self.with(to, life, |cores| match recipient(bytes) {
            Some(Recipient::Membership) => cores.membership.handle_datagram(now, from, bytes),
            Some(Recipient::Records) => cores.records.handle_datagram(now, from, bytes),
            None => {}
        });
    }

    pub(super) fn wake(&mut self, node: usize) {
        let now = self.now;
        let life = self.nodes[node].life_number();
        self.note(2, node, 0);
        self.with(node, life, |cores| {
            cores.membership.handle_timeout(now);
            cores.records.set_loss(cores.membership.stats().loss);
            cores.records.handle_timeout(now);
        });
    }

    /// Fetches everything that the cores of `node` have to say, as a runtime would.
    pub(super) fn settle(&mut self, node: usize) {
        let now = self.now;
        loop {
            let Some(life) = self.nodes[node].life.as_mut() else {
                return;
            };
            if let Some(event) = life.membership.poll_event() {
                self.react(node, event);
            } else if let Some(event) = life.records.poll_event() {
                life.note_record(event);
            } else if let Some(command) = life.membership.poll_command() {
                self.obey(node, command);
            } else if let Some(command) = life.records.poll_command() {
                let records::Command::Pull { from, request } = command;
                self.pull_records(node, from, request);
            } else if let Some(transmit) = life
                .membership
                .poll_transmit()
                .or_else(|| life.records.poll_transmit())
            {
                self.transmit(node, transmit);
            } else {
                break;
            }
        }
        let Some(life) = self.nodes[node].life.as_ref() else {
            return;
        };
        let timeouts = [life.membership.poll_timeout(), life.records.poll_timeout()];
        let Some(at) = timeouts.into_iter().flatten().min() else {
            return;
        };
        if self.nodes[node].wake_at.is_none_or(|wake_at| at < wake_at) {
            self.nodes[node].wake_at = Some(at);
            self.schedule(at.saturating_sub(now), Happening::Wake(node));
        }
    }

    fn react(&mut self, node: usize, event: Event) {
        let now = self.now;
        let observer = self.nodes[node].peer.machine;
        self.findings.observe(now, observer, &event);
        if !matches!(event, Event::Hint { .. }) {
            self.disturbed_at = now;
            self.nodes[node].changes += 1;
        }
        let Some(life) = self.nodes[node].life.as_mut() else {
            return;
        };
        let number = life.number;
        match event {
            Event::Up { member, .. } => life.records.peer_up(now, member.peer(), member.generation),
            Event::Down { member, .. } | Event::Left { member } => {
                life.records.peer_down(member.machine)
            }
            Event::Renew { generation } => {
                self.nodes[node].persisted = generation;
                let answer = Answer::Persisted(generation);
                self.schedule(
                    PERSIST,
                    Happening::Answered {
                        node,
                        life: number,
                        answer,
                    },
                );
            }
            Event::Suspect { .. } | Event::Refuted { .. } | Event::Hint { .. } => {}
        }
        self.note(3, node, kind(&event));
    }
}

/// A number for the kind of an event.
fn kind(event: &Event) -> u64 {
    match event {
        Event::Up { .. } => 1,
        Event::Suspect { .. } => 2,
        Event::Refuted { .. } => 3,
        Event::Down { .. } => 4,
        Event::Left { .. } => 5,
        Event::Renew { .. } => 6,
        Event::Hint { .. } => 7,
    }
}
