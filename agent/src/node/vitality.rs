//! Looking at this machine every few seconds, and telling the mesh when there is something new to tell.

use std::sync::Arc;
use std::time::Duration;

use muster_mesh::clock::Monotonic;
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::{own_boot_ms, peers_boot_ms};
use super::mesh::Input;
use super::shared::Shared;
use crate::health::{Judge, Publisher, Report, Sampler, Steadier, Workload};

/// How often this clock is compared with a peer's.
const CLOCK_PERIOD: Duration = Duration::from_secs(120);

/// How soon after the start this clock is compared for the first time, when there are peers by then.
const CLOCK_FIRST: Duration = Duration::from_secs(20);

/// How long a peer has to tell its time.
const CLOCK_DEADLINE: Duration = Duration::from_secs(2);

/// Comparisons that are kept; their median counts, so that no single peer's wrong clock does.
const CLOCKS_KEPT: usize = 5;

/// Looks at this machine until the agent stops. The latest report is published on `latest` whether or not it is news
/// to others.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut workload: watch::Receiver<Workload>,
    announced: watch::Receiver<bool>,
    latest: watch::Sender<Report>,
) {
    let config = &shared.config.health;
    let mut sampler = Sampler::new(shared.state_dir.path());
    let mut judge = Judge::new(config);
    let mut steadier = Steadier::default();
    let mut publisher = Publisher::new(config);
    let mut offsets = Offsets::default();
    let mut leased = shared.leased.watch();
    let clock = Monotonic::start();
    let mut due = shared.transport.alarm();
    due.set(Some(Instant::now()));
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = due.rings() => {}
            changed = workload.changed() => if changed.is_err() { return },
            changed = leased.changed() => if changed.is_err() { return },
        }
        due.set(Some(Instant::now() + config.interval));
        offsets.compare_if_due(&shared, clock.now()).await;
        let mut sample = sampler.sample();
        sample.clock_offset_ms = offsets.ahead_ms(own_boot_ms());
        leased.mark_unchanged();
        sample.lease_lost = Some(!shared.leased.may_run());
        sample.announced = Some(*announced.borrow());
        sample.workload = workload.borrow_and_update().clone();
        let report = judge.handle_sample(&sample);
        shared.mesh.flights().note_own(&shared, (&report).into());
        let report = steadier.handle_report(clock.now(), report);
        if publisher.handle_report(clock.now(), &report) {
            shared.mesh.tell(Input::Vitals((&report).into())).await;
        }
        latest.send_replace(report);
    }
}

/// What peers' clocks have shown lately.
#[derive(Default)]
struct Offsets {
    /// When this machine booted by the clock of each, in milliseconds since 1970: setting this machine's own makes none of
    /// them wrong.
    kept: Vec<i64>,
    next: Option<Duration>,
    /// Whose turn it is: each peer is asked in the order of the machines' IDs, which are random.
    turn: usize,
}

impl Offsets {
    async fn compare_if_due(&mut self, shared: &Shared, now: Duration) {
        if now < *self.next.get_or_insert(CLOCK_FIRST) {
            return;
        }
        self.next = Some(now + CLOCK_PERIOD);
        let world = shared.mesh.look();
        let others: Vec<_> = world
            .active()
            .filter(|peer| peer.machine != shared.me)
            .collect();
        let Some(peer) = others.get(self.turn % others.len().max(1)) else {
            return;
        };
        self.turn = self.turn.wrapping_add(1);
        match peers_boot_ms(shared, *peer, CLOCK_DEADLINE).await {
            Ok(booted_ms) => {
                self.kept.push(booted_ms);
                if self.kept.len() > CLOCKS_KEPT {
                    self.kept.remove(0);
                }
                shared.clock.measured(&self.kept);
            }
            Err(error) => tracing::debug!(%peer, %error, "a peer did not tell its time"),
        }
    }

    /// How far this machine's clock, by which it booted at `own_ms`, is ahead of theirs, in milliseconds.
    fn ahead_ms(&self, own_ms: i64) -> Option<i64> {
        let mut sorted = self.kept.clone();
        sorted.sort_unstable();
        let median_ms = sorted.get(sorted.len() / 2)?;
        Some(own_ms.saturating_sub(*median_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_off_at_once_by_as_much() {
        let offsets = Offsets {
            kept: vec![1_000, 1_200, 9_000],
            ..Offsets::default()
        };
        assert_eq!(offsets.ahead_ms(1_300), Some(100));
        assert_eq!(offsets.ahead_ms(1_300 + 3_600_000), Some(3_600_100));
        assert_eq!(Offsets::default().ahead_ms(1_300), None);
    }
}
