//! An inquiry: is this one member there? From the first ping until an answer or a verdict.
//!
//! One inquiry asks on several paths, because silence on one of them says little: pings repeated at a spacing that
//! follows round-trip time and measured loss; other members that ping on our behalf; and the UDP port, whose refusal
//! proves in a moment what silence only suggests.

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
/// Others are asked again after this many pings.
const PINGS_PER_REQUEST: u32 = 3;
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
    /// The number on its pings and their answers.
    pub(super) number: u8,
    pub(super) phase: Phase,
    /// Pings sent so far.
    pub(super) tries: u32,
    /// Whether others were asked and one of them at least got the request: then our own network works.
    pub(super) asked: bool,
    pub(super) receipts: u32,
    /// The last sign of life that is no full round trip.
    pub(super) heard_at: Option<Duration>,
    started: Duration,
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
    pub(super) fn new(now: Duration, life: Life, number: u8, pace: Pace, urgent: bool) -> Self {
        let second_path = now
            + if urgent {
                Duration::ZERO
            } else {
                pace.second_path_after
            };
        Self {
            life,
            number,
            phase: Phase::Asking,
            tries: 0,
            asked: false,
            receipts: 0,
            heard_at: None,
            started: now,
            spacing: pace.spacing,
            ping_at: now,
            ask_at: second_path,
            check_at: second_path,
            check_sent: None,
            fail_at: now + pace.window,
            refused_at: None,
        }
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
            self.tries = self.tries.saturating_add(1);
            self.ping_at = now + self.spacing;
        }
        if self.ask_at <= now {
            step.ask_others = true;
            self.asked = true;
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

    /// The round trip's duration, unless a repetition makes it ambiguous (Karn's algorithm).
    pub(super) fn rtt(&self, now: Duration) -> Option<Duration> {
        (self.tries == 1).then(|| now.saturating_sub(self.started))
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
