//! An inquiry: is this one member there? From the first ping until an answer or a verdict.
//!
//! One inquiry asks on several paths, because silence on one of them says little: pings repeated at a spacing that
//! follows round-trip time and measured loss; other members that ping on our behalf; and the UDP port, whose refusal
//! proves in a moment what silence only suggests.

use std::collections::VecDeque;
use std::time::Duration;

use super::event::PortAnswer;
use super::health::Pace;
use super::life::Life;

/// A refusal is believed when a second one follows no sooner than this: a process may be restarting its socket.
const REFUSAL_CONFIRM: Duration = Duration::from_millis(75);
/// Two refusals further apart than this are two separate first ones.
const REFUSAL_FRESH: Duration = Duration::from_secs(2);
/// Between two checks of a port that did not refuse.
const CHECK_EVERY: Duration = Duration::from_millis(700);
/// A suspect is reminded this often that it may object.
const REMIND_EVERY: Duration = Duration::from_millis(300);
/// Below this share of confirmed requests, this member cannot judge others. A quarter of all packets lost leaves half
/// of the requests confirmed, four fifths one in 25.
const RECEIPTS_ONE_IN: u32 = 6;
/// Others are asked again after this many pings.
const PINGS_PER_REQUEST: u32 = 3;
/// Pings of one inquiry whose answers are recognised.
const PINGS_KEPT: usize = 32;
/// The runtime should wait this long for a port's answer. Longer than any sane round trip, short beside a suspicion.
pub const CHECK_TIMEOUT: Duration = Duration::from_millis(400);
/// An answer that took longer than this, or never came, no longer blocks the next check.
const CHECK_EXPIRES: Duration = Duration::from_secs(2);

/// Where an inquiry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for the first answer.
    Asking,
    /// The window closed without one: the target is suspect and is given the chance to object.
    Suspecting,
}

/// What an inquiry wants done now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) ping: bool,
    pub(super) ask_others: bool,
    pub(super) check_port: bool,
    /// The window has closed: suspect.
    pub(super) failed: bool,
}

/// What a port's answer means for the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    Nothing,
    /// Refused twice with no sign of life between: it is dead.
    Dead,
}

/// One inquiry.
#[derive(Debug)]
pub(super) struct Inquiry {
    pub(super) life: Life,
    pub(super) phase: Phase,
    /// Pings sent so far.
    pub(super) tries: u32,
    /// The last pings, by the number on each and on its answer, and when they were sent. Each has its own number, so
    /// that a slow answer is not taken for the answer to a repetition.
    sent: VecDeque<(u8, Duration)>,
    /// Whether another member has declared it down already: our own finding then decides.
    pub(super) accused: bool,
    /// Requests to others to ping on our behalf, and how many of these were confirmed: by those we know whether our
    /// own network works.
    pub(super) requests: u32,
    pub(super) receipts: u32,
    /// The last sign of life that is no full round trip.
    pub(super) heard_at: Option<Duration>,
    spacing: Duration,
    ping_at: Duration,
    ask_at: Duration,
    check_at: Duration,
    check_sent: Option<Duration>,
    fail_at: Duration,
    refused_at: Option<Duration>,
}

impl Inquiry {
    /// Begins at `now`. `urgent` means that there is reason to expect the worst: all paths are tried at once.
    pub(super) fn new(now: Duration, life: Life, pace: Pace, urgent: bool) -> Self {
        let second_path = now
            + if urgent {
                Duration::ZERO
            } else {
                pace.second_path_after
            };
        Self {
            life,
            phase: Phase::Asking,
            tries: 0,
            sent: VecDeque::with_capacity(2),
            accused: false,
            requests: 0,
            receipts: 0,
            heard_at: None,
            spacing: pace.spacing,
            ping_at: now,
            ask_at: second_path,
            check_at: second_path,
            check_sent: None,
            fail_at: now + pace.window,
            refused_at: None,
        }
    }

    /// There is reason to expect the worst after all: tries the other paths now, unless they were tried already.
    pub(super) fn hurry(&mut self, now: Duration) {
        if self.requests == 0 {
            self.ask_at = now;
            self.check_at = now;
        }
    }

    /// A ping went out under this number.
    pub(super) fn pinged(&mut self, now: Duration, number: u8) {
        if self.sent.len() >= PINGS_KEPT {
            self.sent.pop_front();
        }
        self.sent.push_back((number, now));
        self.tries = self.tries.saturating_add(1);
    }

    /// The number of the latest ping.
    pub(super) fn number(&self) -> Option<u8> {
        self.sent.back().map(|(number, _)| *number)
    }

    /// How long ago the ping of this number was sent, and whether it was the first; `None` if it is none of ours.
    pub(super) fn answered(&self, now: Duration, number: u8) -> Option<(Duration, bool)> {
        let index = self.sent.iter().position(|(sent, _)| *sent == number)?;
        let (_, at) = self.sent.get(index)?;
        Some((now.saturating_sub(*at), index == 0))
    }

    /// When the next step is due.
    pub(super) fn next(&self) -> Duration {
        let next = self.ping_at.min(self.ask_at).min(self.check_at);
        match self.phase {
            Phase::Asking => next.min(self.fail_at),
            Phase::Suspecting => next,
        }
    }

    /// Takes the steps due at `now`.
    pub(super) fn step(&mut self, now: Duration) -> Step {
        let mut step = Step::default();
        if self.phase == Phase::Asking && self.fail_at <= now {
            step.failed = true;
            return step;
        }
        if self.ping_at <= now {
            step.ping = true;
            self.ping_at = now + self.spacing;
        }
        if self.ask_at <= now {
            step.ask_others = true;
            self.ask_at = now + self.spacing * PINGS_PER_REQUEST;
        }
        if self.check_at <= now {
            self.check_at = now + CHECK_EVERY;
            if self
                .check_sent
                .is_none_or(|sent| now >= sent + CHECK_EXPIRES)
            {
                step.check_port = true;
                self.check_sent = Some(now);
            }
        }
        step
    }

    /// The window closed: from now on remind the suspect, on all paths, beginning at once.
    pub(super) fn suspect(&mut self, now: Duration) {
        self.phase = Phase::Suspecting;
        self.spacing = self.spacing.max(REMIND_EVERY);
        self.ping_at = now;
        self.ask_at = self.ask_at.min(now + self.spacing);
        self.check_at = self.check_at.min(now + self.spacing);
    }

    /// The target gave a sign of life that is not an answer to us, or an answer after it was suspected.
    pub(super) fn heard(&mut self, now: Duration) {
        self.heard_at = Some(now);
        self.refused_at = None;
    }

    /// The port check came back.
    pub(super) fn checked(&mut self, now: Duration, answer: PortAnswer) -> Finding {
        self.check_sent = None;
        match answer {
            PortAnswer::Answered => self.heard(now),
            PortAnswer::Silent => {}
            PortAnswer::Refused => match self.refused_at {
                Some(first) if now < first + REFUSAL_CONFIRM => {
                    self.check_at = first + REFUSAL_CONFIRM
                }
                Some(first) if now < first + REFUSAL_FRESH => return Finding::Dead,
                _ => {
                    self.refused_at = Some(now);
                    self.check_at = now + REFUSAL_CONFIRM;
                }
            },
        }
        Finding::Nothing
    }

    /// Whether silence may well be our own fault: of those whom we asked for help, hardly any got our request or we
    /// did not hear that they did. False if there was nobody to ask.
    pub(super) fn deaf(&self) -> bool {
        self.receipts * RECEIPTS_ONE_IN < self.requests
    }

    /// Moves every deadline: this process was not running for `late`, so nobody had a chance to answer.
    pub(super) fn forgive(&mut self, late: Duration) {
        for at in [
            &mut self.ping_at,
            &mut self.ask_at,
            &mut self.check_at,
            &mut self.fail_at,
        ] {
            *at += late;
        }
    }
}
