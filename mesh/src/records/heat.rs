//! What is news, how often it is still to be told, and to whom.

use std::collections::BTreeMap;
use std::time::Duration;

use super::entry::{Entry, Tag};
use crate::identity::{MachineId, Peer};

/// Between two rounds while there is much news, and while there is little.
const ROUND_EVERY: Duration = Duration::from_millis(650);
const ROUND_EVERY_CALM: Duration = Duration::from_millis(250);
/// The same while there are only figures to tell, which nobody waits for: many of them then travel together.
const ROUND_EVERY_FIGURES: Duration = Duration::from_millis(2500);
/// How long the first round waits for more news to travel with it.
const ROUND_DELAY: Duration = Duration::from_millis(50);
/// News a second that is little.
const CALM_RATE: f32 = 0.5;
/// News in excess of that rate, above which there is much of it; and the most that is counted, so that calm returns
/// within ten seconds.
const CALM_BURST: f32 = 8.0;
const BURST_MAX: f32 = 12.0;
/// While there is little, each line is passed on to more machines: faster, and safer where packets get lost.
const CALM_EXTRA: u8 = 3;
/// The fewest random machines that each machine passes a line on to.
const RANDOM_MIN: u8 = 2;
/// The most that measured loss adds to the random machines of a line, as a factor.
const LOSS_FACTOR_MAX: f32 = 2.0;

/// What is new in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// Only figures: missed or late, they are soon replaced.
    Figures,
    /// Anything else: a level, a reason, a profile.
    Word,
}

/// A line that is being passed on.
#[derive(Debug, Clone, Copy)]
struct Hot {
    news: News,
    /// To how many more random machines it is to be sent.
    random: u8,
    /// Which of our neighbours in the ring have yet to be told: the next and the one before.
    neighbours: [bool; 2],
}

impl Hot {
    fn is_done(self) -> bool {
        self.random == 0 && self.neighbours == [false; 2]
    }
}

/// The lines that are being passed on.
#[derive(Debug, Default)]
pub(super) struct Heat {
    hot: BTreeMap<MachineId, Hot>,
    due: Option<Duration>,
    last_round: Option<Duration>,
    /// Whether anything but figures has been told since others were last asked whether they know the same.
    to_compare: bool,
    /// When news was last counted, and how much of it there was in excess of [`CALM_RATE`].
    burst: (Duration, f32),
    /// Share of packets that had to be repeated, as the membership measures it.
    pub(super) loss: f32,
    /// Our neighbours in the ring, once computed: the next and the one before.
    pub(super) neighbours: Option<[Option<MachineId>; 2]>,
    /// Whose turn it is of the two.
    pub(super) turn: usize,
    /// Lines about lives that the membership has not told us of yet.
    pub(super) strangers: BTreeMap<Tag, (Duration, Peer, Entry)>,
}

impl Heat {
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hot.is_empty()
    }

    /// The line of `machine` is news, among `others` machines that are alive.
    pub(super) fn heat(&mut self, now: Duration, machine: MachineId, news: News, others: usize) {
        let is_word = news == News::Word;
        if is_word {
            self.count(now);
            self.to_compare = true;
        }
        // Told to m random machines by each, a rumour leaves out e^-m of all (Demers et al., 1987). With m = ln n - 1
        // these are about three, whom the ring reaches.
        let least = (libm::logf(others.max(1) as f32).ceil() as u8)
            .saturating_sub(1)
            .max(RANDOM_MIN);
        let lossy = f32::from(least) * (1.0 / (1.0 - self.loss)).min(LOSS_FACTOR_MAX);
        let extra = if is_word && self.is_calm() {
            CALM_EXTRA
        } else {
            0
        };
        // Nobody is told twice but by chance.
        let enough = u8::try_from(others).unwrap_or(u8::MAX).saturating_sub(2);
        let random = (lossy.ceil() as u8).saturating_add(extra).min(enough);
        let before = self.hot.get(&machine).map(|hot| hot.news);
        let news = if before == Some(News::Word) {
            News::Word
        } else {
            news
        };
        self.hot.insert(
            machine,
            Hot {
                news,
                random,
                neighbours: [true; 2],
            },
        );
        let rested = self.last_round.map_or(now, |last| last + self.pause());
        let wait = if is_word {
            ROUND_DELAY
        } else {
            ROUND_EVERY_FIGURES
        };
        let due = rested.max(now + wait);
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// It is not to be told any more.
    pub(super) fn cool(&mut self, machine: MachineId) {
        self.hot.remove(&machine);
    }

    pub(super) fn clear(&mut self) {
        self.hot.clear();
    }

    /// Somebody else knows it already: one time less.
    pub(super) fn heard_again(&mut self, machine: MachineId) {
        self.told_random(machine, 1);
    }

    /// Whether all is told and others should be asked whether they know the same: not for figures, which they compare
    /// with nobody.
    pub(super) fn take_comparison(&mut self) -> bool {
        self.hot.is_empty() && std::mem::take(&mut self.to_compare)
    }

    /// A round begins if it is due at `now`.
    pub(super) fn begin_round(&mut self, now: Duration) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.due = None;
            self.last_round = Some(now);
        }
        due
    }

    pub(super) fn next_round(&mut self, now: Duration) {
        self.due = Some(now + self.pause());
    }

    /// What one of our neighbours has not been told yet.
    pub(super) fn for_neighbour(&self, which: usize) -> Vec<MachineId> {
        let untold = |hot: &Hot| hot.neighbours.get(which) == Some(&true);
        self.hot
            .iter()
            .filter(|(_, hot)| untold(hot))
            .map(|(machine, _)| *machine)
            .collect()
    }

    pub(super) fn told_neighbour(&mut self, machine: MachineId, which: usize) {
        self.change(machine, |hot| {
            if let Some(untold) = hot.neighbours.get_mut(which) {
                *untold = false;
            }
        });
    }

    /// What random machines are to be told, what was told least first.
    pub(super) fn for_random(&self) -> Vec<MachineId> {
        let mut lines: Vec<(u8, MachineId)> = self
            .hot
            .iter()
            .filter(|(_, hot)| hot.random > 0)
            .map(|(machine, hot)| (hot.random, *machine))
            .collect();
        lines.sort_unstable_by_key(|(left, _)| std::cmp::Reverse(*left));
        lines.into_iter().map(|(_, machine)| machine).collect()
    }

    pub(super) fn told_random(&mut self, machine: MachineId, copies: u8) {
        self.change(machine, |hot| {
            hot.random = hot.random.saturating_sub(copies)
        });
    }

    fn change(&mut self, machine: MachineId, change: impl FnOnce(&mut Hot)) {
        if let Some(hot) = self.hot.get_mut(&machine) {
            change(hot);
            if hot.is_done() {
                self.hot.remove(&machine);
            }
        }
    }

    /// Counts a piece of news.
    fn count(&mut self, now: Duration) {
        let (counted_at, burst) = self.burst;
        let drained = now.saturating_sub(counted_at).as_secs_f32() * CALM_RATE;
        self.burst = (now, ((burst - drained).max(0.0) + 1.0).min(BURST_MAX));
    }

    fn is_calm(&self) -> bool {
        self.burst.1 < CALM_BURST
    }

    fn pause(&self) -> Duration {
        if !self.hot.values().any(|hot| hot.news == News::Word) {
            ROUND_EVERY_FIGURES
        } else if self.is_calm() {
            ROUND_EVERY_CALM
        } else {
            ROUND_EVERY
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(number: u64) -> MachineId {
        MachineId::new(number).expect("not zero")
    }

    fn spread(heat: &Heat) -> u8 {
        heat.hot.values().map(|hot| hot.random).max().unwrap_or(0)
    }

    #[test]
    fn much_news_and_small_meshes_are_told_less_often() {
        let now = Duration::from_secs(1);
        let mut heat = Heat::default();
        heat.heat(now, machine(1), News::Word, 49);
        assert_eq!(spread(&heat), 3 + CALM_EXTRA);
        (2..20).for_each(|number| heat.heat(now, machine(number), News::Word, 49));
        assert_eq!(heat.hot.get(&machine(19)).map(|hot| hot.random), Some(3));
        heat.loss = 0.44;
        heat.heat(now, machine(20), News::Word, 49);
        assert_eq!(
            heat.hot.get(&machine(20)).map(|hot| hot.random),
            Some(6),
            "more where packets get lost"
        );
        let mut pair = Heat::default();
        pair.heat(now, machine(1), News::Word, 1);
        assert_eq!(spread(&pair), 0, "its only peer is its neighbour");
    }

    #[test]
    fn a_line_is_done_when_neighbours_and_enough_others_were_told() {
        let mut heat = Heat::default();
        heat.heat(Duration::ZERO, machine(1), News::Word, 4);
        heat.told_random(machine(1), 5);
        heat.told_neighbour(machine(1), 0);
        assert_eq!(heat.for_random(), []);
        assert_eq!(heat.for_neighbour(1), [machine(1)]);
        heat.told_neighbour(machine(1), 1);
        assert!(heat.is_empty());
    }

    #[test]
    fn figures_wait_for_company_and_a_word_waits_for_nobody() {
        let now = Duration::from_secs(10);
        let mut heat = Heat::default();
        heat.heat(now, machine(1), News::Figures, 49);
        assert_eq!(heat.due(), Some(now + ROUND_EVERY_FIGURES));
        assert_eq!(spread(&heat), 3, "and are told less often");
        heat.heat(now, machine(2), News::Word, 49);
        assert_eq!(heat.due(), Some(now + ROUND_DELAY));
        assert!(heat.begin_round(now + ROUND_DELAY));
        heat.next_round(now + ROUND_DELAY);
        assert_eq!(heat.due(), Some(now + ROUND_DELAY + ROUND_EVERY_CALM));
        heat.cool(machine(2));
        heat.next_round(now);
        assert_eq!(heat.due(), Some(now + ROUND_EVERY_FIGURES));
    }
}
