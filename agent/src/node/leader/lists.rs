//! What provisioners last said of their instances. Each is asked in the background: one that hangs delays nobody's
//! healing, not even that of its own machines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use muster_mesh::clock::Steady;
use muster_provisioners::{Deadline, Instance, Provisioner, Provisioners, Tags};
use tokio::time::Instant;

use super::background::Background;
use crate::heal::Listing;

/// How long a provisioner has to list its instances before it counts as unable to say.
const DESCRIBE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a list is believed when no newer one is to be had.
const BELIEVED: Duration = Duration::from_secs(30);

/// Older lists say nothing about instances that nobody knows: they may have been destroyed since.
const LIST_FRESH: Duration = Duration::from_secs(15);

/// The pause after a provisioner could not say; doubles with each further time.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);

/// The longest such pause.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// What all provisioners that were asked said last.
pub(super) struct Lists {
    /// What lists are dated by.
    clock: Steady,
    known: BTreeMap<String, Known>,
    asked: Background<String, Said>,
}

/// What one provisioner said, each with when that was by a clock that nobody sets.
struct Known {
    /// Its last list.
    list: Option<(Instant, Listing)>,
    /// Its last answers, where they were none, and how many of them there were in a row.
    failure: Option<(Instant, Listing, u32)>,
}

/// An answer, with when it was asked for.
struct Said {
    at: Instant,
    listing: Listing,
}

impl Lists {
    /// None yet; those to come are dated by this clock.
    pub(super) fn new(clock: Steady) -> Self {
        Self {
            clock,
            known: BTreeMap::new(),
            asked: Background::default(),
        }
    }

    /// Asks this provisioner for its list, unless it is being asked, or was within `period`, or has to be spared after
    /// it failed. Returns at once.
    pub(super) fn ask(
        &mut self,
        provisioners: &Provisioners,
        name: &str,
        filter: &Tags,
        period: Duration,
    ) {
        if self.due_in(name, period) != Some(Duration::ZERO) {
            return;
        }
        let built = provisioners.get(name).cloned();
        self.asked
            .start(name.to_owned(), list(built, filter.clone(), self.clock));
    }

    /// How long until this provisioner is to be asked again; `None` while it is being asked.
    pub(super) fn due_in(&self, name: &str, period: Duration) -> Option<Duration> {
        if self.asked.has(&name.to_owned()) {
            return None;
        }
        let Some(known) = self.known.get(name) else {
            return Some(Duration::ZERO);
        };
        let due = match (&known.failure, &known.list) {
            (Some((at, _, times)), _) => *at + back_off(*times).max(period),
            (None, Some((at, _))) => *at + period,
            (None, None) => return Some(Duration::ZERO),
        };
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Takes in the next answer. Says whose it is and whether it says anything new; `None` while nobody is asked.
    pub(super) async fn next(&mut self) -> Option<(String, bool)> {
        let (name, said) = self.asked.next().await?;
        let said = said.unwrap_or_else(|| {
            let why = "asking it failed by a defect; the log says more";
            Said::failed(Instant::now(), self.clock.now_ms(), why.to_owned())
        });
        let before = self.known.remove(&name);
        let says = |known: &Known| known.says(&said.listing.said);
        let news = !before.as_ref().is_some_and(says);
        self.known.insert(name.clone(), Known::after(before, said));
        Some((name, news))
    }

    /// What a provisioner said last: its last list, unless it is old and no newer one was to be had. `None` while it has
    /// not answered yet.
    pub(super) fn of(&self, name: &str) -> Option<&Listing> {
        let known = self.known.get(name)?;
        let list = known.list.as_ref();
        let believed = list.filter(|(at, _)| known.failure.is_none() || at.elapsed() <= BELIEVED);
        let failure = known.failure.as_ref().map(|(_, listing, _)| listing);
        believed.map(|(_, listing)| listing).or(failure)
    }

    /// What a provisioner said last when it was asked at `since` or later; that it can't say counts whenever it was said. `None`
    /// while it has not answered yet.
    pub(super) fn of_since(&self, name: &str, since: Instant) -> Option<&Listing> {
        let known = self.known.get(name)?;
        let list = known.list.as_ref().filter(|(at, _)| *at >= since);
        let failure = known.failure.as_ref().map(|(_, listing, _)| listing);
        list.map(|(_, listing)| listing).or(failure)
    }

    /// All lists that are fresh, each with its provisioner's name.
    pub(super) fn fresh(&self) -> impl Iterator<Item = (&str, &Listing)> {
        self.known.iter().filter_map(|(name, known)| {
            let list = known.list.as_ref();
            let fresh = list.filter(|(at, _)| at.elapsed() <= LIST_FRESH);
            fresh.map(|(_, listing)| (name.as_str(), listing))
        })
    }
}

impl Known {
    fn after(before: Option<Self>, Said { at, listing }: Said) -> Self {
        let (list, times) = before.map_or((None, 0), |known| {
            (known.list, known.failure.map_or(0, |(_, _, times)| times))
        });
        if listing.said.is_ok() {
            return Self {
                list: Some((at, listing)),
                failure: None,
            };
        }
        Self {
            list,
            failure: Some((Instant::now(), listing, times.saturating_add(1))),
        }
    }

    /// Whether it said the same before.
    fn says(&self, said: &Result<Vec<Instance>, String>) -> bool {
        let failure = self.failure.as_ref().map(|(_, listing, _)| listing);
        let last = failure.or(self.list.as_ref().map(|(_, listing)| listing));
        last.is_some_and(|listing| listing.said == *said)
    }
}

impl Said {
    fn failed(at: Instant, at_ms: u64, why: String) -> Self {
        let listing = Listing {
            at_ms,
            list_lag_ms: 0,
            can_prove_off: false,
            can_reboot: false,
            can_power_cycle: false,
            can_reimage: false,
            is_hardware: false,
            said: Err(why),
        };
        Self { at, listing }
    }
}

/// One list, asked for right now, and dated by this clock.
pub(super) async fn ask_once(
    built: Option<Arc<dyn Provisioner>>,
    filter: Tags,
    clock: Steady,
) -> Listing {
    list(built, filter, clock).await.listing
}

async fn list(built: Option<Arc<dyn Provisioner>>, filter: Tags, clock: Steady) -> Said {
    let (at, at_ms) = (Instant::now(), clock.now_ms());
    let Some(provisioner) = built else {
        let why = "this coordinator has no such provisioner";
        return Said::failed(at, at_ms, why.to_owned());
    };
    let can = provisioner.capabilities();
    let described = provisioner.describe(&filter, Deadline::after(DESCRIBE_DEADLINE));
    // A provisioner that doesn't keep to its deadline is not waited for either.
    let said = match tokio::time::timeout(DESCRIBE_DEADLINE, described).await {
        Ok(said) => said.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "no answer within {} s",
            DESCRIBE_DEADLINE.as_secs()
        )),
    };
    let listing = Listing {
        at_ms,
        list_lag_ms: u64::try_from(can.list_lag.as_millis()).unwrap_or(u64::MAX),
        can_prove_off: can.prove_off,
        can_reboot: can.reboot,
        can_power_cycle: can.power_cycle,
        can_reimage: can.reimage,
        is_hardware: can.hardware,
        said,
    };
    Said { at, listing }
}

fn back_off(times: u32) -> Duration {
    let doubled = BACK_OFF_MIN.saturating_mul(1 << times.saturating_sub(1).min(10));
    doubled.min(BACK_OFF_MAX)
}

#[cfg(test)]
mod tests {
    use muster_mesh::clock::Monotonic;
    use muster_provisioners::fake::{Call, Fake, Fault};

    use super::*;

    const PERIOD: Duration = Duration::from_millis(400);

    struct Scene {
        lists: Lists,
        provisioners: Provisioners,
        good: Fake,
        bad: Fake,
    }

    impl Scene {
        fn new() -> Self {
            let (good, bad) = (Fake::new(), Fake::new());
            let mut provisioners = Provisioners::new();
            provisioners.insert("good", Arc::new(good.clone()));
            provisioners.insert("bad", Arc::new(bad.clone()));
            Self {
                lists: Lists::new(Steady::start(Monotonic::start())),
                provisioners,
                good,
                bad,
            }
        }

        fn ask(&mut self) {
            for name in ["good", "bad"] {
                self.lists
                    .ask(&self.provisioners, name, &Tags::new(), PERIOD);
            }
        }

        /// Whether a provisioner said something, and whether that was a list.
        fn word(&self, name: &str) -> Option<bool> {
            Some(self.lists.of(name)?.said.is_ok())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_keeps_nobody_waiting_and_is_spared_more_and_more() {
        let mut scene = Scene::new();
        scene.bad.inject(Call::Describe, vec![Fault::Hang; 100]);
        let begun = Instant::now();
        scene.ask();
        assert_eq!(scene.lists.next().await, Some(("good".to_owned(), true)));
        assert!(begun.elapsed() < Duration::from_secs(1), "nobody waited");
        assert_eq!(scene.word("good"), Some(true));
        assert_eq!(scene.word("bad"), None, "not heard of yet");
        let mut asked = Vec::new();
        while begun.elapsed() < Duration::from_secs(200) {
            if scene.lists.due_in("bad", PERIOD) == Some(Duration::ZERO) {
                asked.push(begun.elapsed().as_secs());
            }
            scene.ask();
            let answers = async { while scene.lists.next().await.is_some() {} };
            let _ = tokio::time::timeout(PERIOD, answers).await;
            tokio::time::sleep(PERIOD).await;
        }
        assert_eq!(scene.word("bad"), Some(false));
        assert!((5..=9).contains(&asked.len()), "{asked:?}");
        assert!(scene.good.calls(Call::Describe) > 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_list_is_believed_for_a_while_when_no_newer_one_comes() {
        let mut scene = Scene::new();
        scene.ask();
        scene.lists.next().await;
        scene.lists.next().await;
        assert_eq!(scene.word("bad"), Some(true));
        scene.bad.inject(Call::Describe, vec![Fault::Hang; 100]);
        tokio::time::sleep(PERIOD).await;
        scene
            .lists
            .ask(&scene.provisioners, "bad", &Tags::new(), PERIOD);
        assert_eq!(scene.lists.next().await, Some(("bad".to_owned(), true)));
        assert_eq!(scene.word("bad"), Some(true));
        tokio::time::sleep(BELIEVED).await;
        assert_eq!(scene.word("bad"), Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_from_before_an_order_by_hand_says_nothing_about_it() {
        let mut scene = Scene::new();
        scene.bad.inject(Call::Describe, vec![Fault::Hang; 100]);
        scene.ask();
        scene.lists.next().await;
        tokio::time::sleep(PERIOD).await;
        let ordered = Instant::now();
        assert_eq!(scene.word("good"), Some(true));
        assert_eq!(scene.lists.of_since("good", ordered), None);
        assert_eq!(scene.lists.of_since("bad", ordered), None);
        scene.ask();
        scene.lists.next().await;
        assert!(scene.lists.of_since("good", ordered).is_some());
        // One that can't say is not waited for.
        scene.lists.next().await;
        let said = scene.lists.of_since("bad", ordered);
        assert!(said.is_some_and(|listing| listing.said.is_err()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_list_again_is_no_news() {
        let mut scene = Scene::new();
        for news in [true, false] {
            scene
                .lists
                .ask(&scene.provisioners, "good", &Tags::new(), PERIOD);
            assert_eq!(scene.lists.next().await, Some(("good".to_owned(), news)));
            tokio::time::sleep(PERIOD).await;
        }
    }
}
