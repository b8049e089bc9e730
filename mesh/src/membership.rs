//! Who is alive: SWIM on foca, driven without I/O.
//!
//! The core takes time, datagrams and answers as arguments and returns datagrams, events and commands; it has no
//! clock, no socket and no randomness but its seed. The simulator ([`crate::simulator`]) and the agent drive the same
//! code.
//!
//! foca keeps and spreads beliefs. Around it, this module adds what a fleet needs: probes that repeat pings, try a
//! second path and ask the port before they suspect (`inquiry`); timing that follows round-trip time, loss and this
//! machine's own condition (`health`); joining and repair by state transfer that never resurrects the dead
//! (`state`); new generations that are durable before they are used, and rejoining for ever (`company`).

mod codec;
mod company;
mod config;
mod event;
mod health;
mod hint;
mod inquiry;
mod life;
mod probing;
mod receive;
mod spread;
mod state;
mod stats;
mod swim;
mod table;
mod timers;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

#[cfg(test)]
pub(crate) use self::config::Safeguards;
pub use self::config::{Config, MEMBERS_MAX};
pub use self::event::{Command, Event, How, Member, PortAnswer, Status, Transmit};
pub use self::hint::Hint;
pub use self::inquiry::CHECK_TIMEOUT;
pub use self::state::FULL_STATE_MAX;
pub use self::stats::Stats;

use self::company::{Company, Renewal};
use self::health::LocalHealth;
use self::inquiry::Inquiry;
use self::life::Life;
use self::probing::Rounds;
use self::spread::Spread;
use self::swim::Swim;
use self::table::Table;
use self::timers::{Timer, Timers};
use self::verdict::Suspicion;
use crate::identity::{Generation, MachineId, Peer};

/// Events that the runtime has not fetched, above which datagrams are refused: events are never dropped, so input is.
const EVENTS_MAX: usize = 4 * MEMBERS_MAX;
/// Datagrams that the runtime has not fetched, above which the oldest are dropped.
const TRANSMITS_MAX: usize = 4096;
/// A wake-up later than this says that this process was not running: nobody is judged by what it missed meanwhile.
const LATE_MIN: Duration = Duration::from_millis(250);

/// A wake-up as late as this is one from sleep: what waits in the socket may be old.
const SLEEP_MIN: Duration = Duration::from_secs(3);
/// After such a wake-up, news is taken for old news for this long.
const DROWSY: Duration = Duration::from_secs(2);

/// Who has heard nobody for so many probe periods has been cut off: its neighbours ping it in each.
const DEAF_PERIODS: u32 = 4;

/// One member of the mesh.
///
/// Methods are of four kinds:
///
/// - `handle_*`, [`join`](Self::join), [`leave`](Self::leave), [`renewed`](Self::renewed) and [`set_hint`](Self::set_hint)
///   take input.
/// - `poll_*` yield output. After any input, fetch [`poll_transmit`](Self::poll_transmit),
///   [`poll_event`](Self::poll_event) and [`poll_command`](Self::poll_command) until each returns `None`, in any order,
///   then ask [`poll_timeout`](Self::poll_timeout) when to call [`handle_timeout`](Self::handle_timeout).
/// - [`full_state`](Self::full_state) writes the table for a stream.
/// - The rest are getters.
///
/// `now` is the time since an arbitrary origin that stays the same; it must not go backwards. When several inputs
/// wait, datagrams should be handled before a timeout: a late answer is better than a false suspicion.
pub struct Membership {
    config: Config,
    swim: Swim,
    table: Table,
    timers: Timers,
    health: LocalHealth,
    rng: Xoshiro256PlusPlus,
    inquiries: BTreeMap<MachineId, Inquiry>,
    suspicions: BTreeMap<MachineId, Suspicion>,
    rounds: Rounds,
    spread: Spread,
    company: Company,
    renewal: Renewal,
    hint: Option<Hint>,
    heard_at: Option<Duration>,
    attentive_since: Option<Duration>,
    woke_at: Option<Duration>,
    left: bool,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    commands: VecDeque<Command>,
    stats: Stats,
}

impl Membership {
    /// A member that knows nobody yet. `generation` must be durable already; `seed` decides all its random choices.
    pub fn new(config: Config, me: Peer, generation: Generation, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let life = Life {
            machine: me.machine,
            generation,
            addr: me.addr,
        };
        let swim = Swim::new(life, Xoshiro256PlusPlus::from_rng(&mut rng));
        Self {
            config,
            swim,
            table: Table::default(),
            timers: Timers::default(),
            health: LocalHealth::default(),
            rng,
            inquiries: BTreeMap::new(),
            suspicions: BTreeMap::new(),
            rounds: Rounds::default(),
            spread: Spread::default(),
            company: Company::default(),
            renewal: Renewal::default(),
            hint: None,
            heard_at: None,
            attentive_since: None,
            woke_at: None,
            left: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            commands: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Does what is due at `now`. Calling it too early does nothing.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.left {
            return;
        }
        self.forgive_lateness(now);
        for timer in self.timers.take_due(now) {
            match timer {
                Timer::Inquiry(machine) => self.step_inquiry(now, machine),
                Timer::Verdict(machine) => self.end_suspicion(now, machine),
                Timer::Probe => self.probe_next(now, probing::ALONE),
                Timer::Gossip => self.gossip(now),
                Timer::Sync => self.compare_with_somebody(now),
                Timer::Rejoin => self.look_for_company(now),
                Timer::Plan => self.arm_rejoin(now),
                Timer::Forget => self.forget_the_dead(now),
                Timer::Renew => self.ask_for_generation(now),
            }
        }
        self.flush(now);
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next change to know about.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next piece of work for the runtime.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None`: not before other input.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.earliest()
    }

    /// Sets what every datagram of ours carries from now on, `None` for nothing. Sends nothing by itself.
    pub fn set_hint(&mut self, hint: Option<Hint>) {
        self.hint = hint;
    }

    /// This machine, as it is addressed by others.
    pub fn me(&self) -> Peer {
        self.swim.me().peer()
    }

    /// The generation in use.
    pub fn generation(&self) -> Generation {
        self.swim.me().generation
    }

    /// Every machine known, this one excepted, by machine ID; the dead and the gone included, for a day.
    pub fn members(&self) -> impl ExactSizeIterator<Item = Member> {
        self.table.rows().map(table::Row::member)
    }

    /// One machine, if known.
    pub fn member(&self, machine: MachineId) -> Option<Member> {
        self.table.get(machine).map(table::Row::member)
    }

    /// How many members are alive or suspect, this one excepted.
    pub fn active_count(&self) -> usize {
        self.table.active_count()
    }

    /// When the last datagram of any member arrived. Members ping each other every few seconds at most, so a machine that
    /// has heard nothing for longer is cut off, and what it believes of others is of that time.
    pub fn last_heard(&self) -> Option<Duration> {
        self.heard_at
    }

    /// Since when this member has watched the mesh without a break: since it first heard anybody, or heard somebody
    /// again after it was cut off or asleep. `None` if it never heard anybody.
    pub fn attentive_since(&self) -> Option<Duration> {
        self.attentive_since
    }

    /// Somebody was heard at `now`.
    fn note_heard(&mut self, now: Duration) {
        let deaf_after = self.config.probe_period * DEAF_PERIODS;
        let was_deaf = |at: Duration| now.saturating_sub(at) >= deaf_after;
        if self.heard_at.replace(now).is_none_or(was_deaf) {
            self.attentive_since = Some(now);
        }
    }

    /// What happened so far, and the state of health.
    pub fn stats(&self) -> Stats {
        Stats {
            health_score: self.health.score(),
            loss: self.health.loss(),
            backlog: self.swim.backlog(),
            ..self.stats
        }
    }

    /// Forgives deadlines that passed while this process was not running (stopped, starved, asleep): answers to what
    /// it asked may still wait in its socket, and nobody else is to blame. Such a wake-up counts against its own health.
    fn forgive_lateness(&mut self, now: Duration) {
        let Some(late) = self.timers.earliest().and_then(|at| now.checked_sub(at)) else {
            return;
        };
        if late < LATE_MIN || !self.config.safeguards.late_wake {
            return;
        }
        self.stats.late_wakes += 1;
        if late >= SLEEP_MIN {
            self.woke_at = Some(now);
            self.attentive_since = self.attentive_since.map(|_| now);
        }
        if self.config.safeguards.local_health {
            self.health.worse();
        }
        for (machine, inquiry) in &mut self.inquiries {
            inquiry.forgive(late + LATE_MIN);
            self.timers.set(Timer::Inquiry(*machine), inquiry.next());
        }
        for (machine, suspicion) in &mut self.suspicions {
            suspicion.ends += late + LATE_MIN;
            self.timers.set(Timer::Verdict(*machine), suspicion.ends);
        }
        // The rest is due, but not late any more.
        for timer in self.timers.take_due(now) {
            self.timers.set(timer, now);
        }
    }

    /// Whether what arrives now may have waited in the socket while this process slept.
    fn has_just_woken(&self, now: Duration) -> bool {
        self.woke_at.is_some_and(|at| now < at + DROWSY)
    }
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("me", &self.swim.me())
            .field("known", &self.table.len())
            .field("active", &self.table.active_count())
            .finish_non_exhaustive()
    }
}
