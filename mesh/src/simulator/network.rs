//! The network between the machines: how long things take, and what gets lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;

use super::Simulation;
use super::engine::{Answer, Happening, Request};
use super::node::Condition;
use crate::identity::{MachineId, Peer};
use crate::membership::{self, CHECK_TIMEOUT, PortAnswer, Transmit};

/// What UDP, IP and QUIC add to a datagram: 28 bytes of headers, 3 of framing, 9 of short header, 16 of tag, 2 of number.
const FRAMING: u64 = 58;
/// A packet that only acknowledges, and how many of them a datagram causes on average: the answer to a ping carries the
/// acknowledgement of the ping, while that of the answer travels alone.
const ACK: u64 = 64;
const ACKS_PER_TEN: u64 = 6;
/// A port probe is padded to this, so that nobody can use it to amplify.
const PORT_PROBE: u64 = 1200 + 28;
/// A lost packet of a stream is sent again after about this.
const STREAM_REPEAT: Duration = Duration::from_millis(200);
/// A stream that lost this many packets in a row has failed.
const STREAM_TRIES: u32 = 12;

/// Latency and faults.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Network {
    /// Shortest and longest time that a packet takes. Default 0.2 to 0.6 ms.
    pub latency: Option<(Duration, Duration)>,
    /// Share of packets that get lost, everywhere. Default 0.
    pub loss: f64,
    /// Share of packets that arrive twice. Default 0.
    pub duplication: f64,
    /// Share of packets lost from one machine to another, in that direction, besides `loss`.
    pub loss_between: BTreeMap<(usize, usize), f64>,
    /// Share of packets that a machine loses in either direction, besides `loss`.
    pub loss_at: BTreeMap<usize, f64>,
    /// By name, what is cut off from the rest.
    cuts: BTreeMap<u64, BTreeSet<usize>>,
    /// Machines that packets only leave, and machines that they only reach.
    one_way: BTreeSet<(usize, Way)>,
}

/// A way that packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To a machine.
    In,
    /// From a machine.
    Out,
}

impl Network {
    pub(super) fn cut(&mut self, name: u64, island: impl IntoIterator<Item = usize>) {
        self.cuts.insert(name, island.into_iter().collect());
    }

    pub(super) fn mend(&mut self, name: u64) {
        self.cuts.remove(&name);
    }

    pub(super) fn mend_all(&mut self) {
        self.cuts.clear();
    }

    /// Blocks or opens one way of a machine.
    pub(super) fn block(&mut self, node: usize, way: Way, blocked: bool) {
        if blocked {
            self.one_way.insert((node, way));
        } else {
            self.one_way.remove(&(node, way));
        }
    }

    /// Whether it treats all machines alike.
    pub(super) fn is_even(&self) -> bool {
        self.is_whole() && self.loss_at.is_empty() && self.loss_between.is_empty()
    }

    /// Whether every machine can reach every other in both directions, now and then at least.
    fn is_whole(&self) -> bool {
        self.cuts.is_empty() && self.one_way.is_empty()
    }

    /// Whether no cut lies on the way from one machine to another.
    pub(super) fn connects(&self, from: usize, to: usize) -> bool {
        let apart = |island: &BTreeSet<usize>| island.contains(&from) != island.contains(&to);
        let blocked = |end| self.one_way.contains(&end);
        !blocked((from, Way::Out)) && !blocked((to, Way::In)) && !self.cuts.values().any(apart)
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
        self.one_way.clear();
        self.loss_between.clear();
        self.loss_at.clear();
        self.loss = 0.0;
        self.duplication = 0.0;
    }

    /// Whether `node` can reach everybody as well as anybody can.
    pub(super) fn is_fair_to(&self, node: usize) -> bool {
        self.is_whole() && !self.loss_at.contains_key(&node) && self.loss_between.is_empty()
    }

    fn latency(&self, rng: &mut impl rand::Rng) -> Duration {
        let (shortest, longest) = self
            .latency
            .unwrap_or((Duration::from_micros(200), Duration::from_micros(600)));
        rng.random_range(shortest..=longest)
    }

    /// The probability that a packet gets lost.
    fn loss(&self, from: usize, to: usize) -> f64 {
        if !self.connects(from, to) {
            return 1.0;
        }
        let at = |node| 1.0 - self.loss_at.get(&node).copied().unwrap_or(0.0);
        let between = 1.0 - self.loss_between.get(&(from, to)).copied().unwrap_or(0.0);
        1.0 - (1.0 - self.loss) * between * at(from) * at(to)
    }
}

/// What a machine sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams of membership and records.
    pub datagrams: u64,
    /// Their bytes, as the cores made them.
    pub bytes: u64,
    /// Port probes.
    pub probes: u64,
    /// Bytes sent on streams, requests and answers.
    pub stream_bytes: u64,
}

impl Traffic {
    /// An estimate of the bytes on the wire: framing, encryption and acknowledgements included.
    pub fn wire_bytes(&self) -> u64 {
        self.bytes
            + self.datagrams * FRAMING
            + self.datagrams * ACK * ACKS_PER_TEN / 10
            + self.probes * PORT_PROBE
            + self.stream_bytes
    }

    /// What was sent since `before`.
    pub fn since(&self, before: Self) -> Self {
        Self {
            datagrams: self.datagrams - before.datagrams,
            bytes: self.bytes - before.bytes,
            probes: self.probes - before.probes,
            stream_bytes: self.stream_bytes - before.stream_bytes,
        }
    }
}

impl Simulation {
    fn lost(&mut self, from: usize, to: usize) -> bool {
        let loss = self.network.loss(from, to);
        // Drawn in any case, so that a fault changes only what it should.
        self.rng.random::<f64>() < loss
    }

    pub(super) fn transmit(&mut self, node: usize, Transmit { to, bytes }: Transmit) {
        self.traffic[node].datagrams += 1;
        self.traffic[node].bytes += bytes.len() as u64;
        let Some(&target) = self.index.get(&to.machine) else {
            return;
        };
        let copies = 1 + usize::from(self.rng.random::<f64>() < self.network.duplication);
        for _ in 0..copies {
            let latency = self.network.latency(&mut self.rng);
            if !self.lost(node, target) {
                let from = self.nodes[node].peer;
                self.schedule(
                    latency,
                    Happening::Datagram {
                        to: target,
                        from,
                        bytes: bytes.clone(),
                    },
                );
            }
        }
    }

    pub(super) fn obey(&mut self, node: usize, command: membership::Command) {
        let life = self.nodes[node].life_number();
        match command {
            membership::Command::CheckPort { peer, generation } => {
                self.traffic[node].probes += 1;
                let (after, answer) = self.probe_port(node, peer);
                let answer = Answer::Checked {
                    machine: peer.machine,
                    generation,
                    answer,
                };
                self.schedule(after, Happening::Answered { node, life, answer });
            }
            membership::Command::PullState(peer) => {
                let Some(cores) = self.nodes[node].life.as_mut() else {
                    return;
                };
                let state = Request::State(cores.membership.full_state());
                // A failure needs no report.
                self.ask(node, peer.machine, state);
            }
        }
    }

    pub(super) fn pull_records(&mut self, node: usize, from: Peer, request: Bytes) {
        if !self.ask(node, from.machine, Request::Records(request)) {
            let life = self.nodes[node].life_number();
            let answer = Answer::RecordsFailed { by: from.machine };
            self.schedule(
                STREAM_REPEAT * STREAM_TRIES,
                Happening::Answered { node, life, answer },
            );
        }
    }

    /// Sends a request on a stream; whether it will arrive.
    fn ask(&mut self, node: usize, of: MachineId, request: Request) -> bool {
        let (Request::State(bytes) | Request::Records(bytes)) = &request;
        self.traffic[node].stream_bytes += bytes.len() as u64;
        let Some(&target) = self.index.get(&of) else {
            return false;
        };
        let after = self.stream(node, target);
        match after.filter(|_| self.nodes[target].condition == Condition::Running) {
            None => false,
            Some(after) => {
                let life = self.nodes[node].life_number();
                self.schedule(
                    after,
                    Happening::Asked {
                        node: target,
                        by: node,
                        life,
                        request,
                    },
                );
                true
            }
        }
    }

    /// Answers a request that arrived at `node`.
    pub(super) fn answer(&mut self, node: usize, by: usize, life: u64, request: &Request) {
        let (now, giver) = (self.now, self.nodes[node].peer);
        let asker = self.nodes[by].peer.machine;
        let mut answer = None;
        self.with(node, self.nodes[node].life_number(), |cores| {
            answer = Some(match request {
                Request::State(bytes) => {
                    let taken = cores.membership.handle_full_state(now, asker, bytes);
                    taken.expect("a core's own state decodes");
                    let bytes = cores.membership.full_state();
                    Answer::State {
                        by: giver.machine,
                        bytes,
                    }
                }
                Request::Records(bytes) => {
                    let answer = cores.records.handle_pull(bytes);
                    let bytes = answer.expect("a core's own request decodes");
                    Answer::Records { by: giver, bytes }
                }
            });
        });
        let Some(answer) = answer else { return };
        if let Answer::State { bytes, .. } | Answer::Records { bytes, .. } = &answer {
            self.traffic[node].stream_bytes += bytes.len() as u64;
        }
        if let Some(after) = self.stream(node, by) {
            self.schedule(
                after,
                Happening::Answered {
                    node: by,
                    life,
                    answer,
                },
            );
        }
    }

    fn probe_port(&mut self, node: usize, peer: Peer) -> (Duration, PortAnswer) {
        let silent = (CHECK_TIMEOUT, PortAnswer::Silent);
        let Some(&target) = self.index.get(&peer.machine) else {
            return silent;
        };
        let round_trip = self.network.latency(&mut self.rng) + self.network.latency(&mut self.rng);
        let (there, back) = (self.lost(node, target), self.lost(target, node));
        if there || back {
            return silent;
        }
        match self.nodes[target].condition {
            Condition::Running => (round_trip, PortAnswer::Answered),
            Condition::Killed => (round_trip, PortAnswer::Refused),
            Condition::Paused | Condition::Off => silent,
        }
    }

    /// How long one direction of a stream takes; `None` if it fails.
    fn stream(&mut self, from: usize, to: usize) -> Option<Duration> {
        let latency = self.network.latency(&mut self.rng);
        (0..STREAM_TRIES)
            .find(|_| !self.lost(from, to))
            .map(|tries| latency + STREAM_REPEAT * tries)
    }
}
