//! How far this member may trust its own senses: local health (Lifeguard), measured loss, round-trip time.

use std::time::Duration;

use super::config::Config;

/// The worst local health score, as in Lifeguard.
const SCORE_MAX: u8 = 8;
/// Weight of one ping in the measured loss: about the last 16 pings count.
const LOSS_WEIGHT: f32 = 1.0 / 16.0;
/// A probe should fail by mere loss less often than this; decides how often a ping is repeated.
const FALSE_FAILURE: f32 = 1e-5;
/// Bounds of the time between two pings of the same probe. Below 50 ms a busy machine would only add to its load.
const SPACING: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(150));
/// The most that loss alone makes a suspicion longer.
const SUSPICION_STRETCH_MAX: f32 = 8.0;
/// No round-trip time above this is believed; probes would never end.
const RTT_MAX: Duration = Duration::from_secs(1);

/// What this member knows of its own condition and its network's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LocalHealth {
    score: u8,
    /// Share of pings that had to be repeated.
    loss: f32,
    /// Smoothed round-trip time over all members.
    rtt: Option<Duration>,
}

/// The timing of one probe, decided at its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two pings.
    pub(super) spacing: Duration,
    /// From the first ping until others are asked and the port is tried.
    pub(super) second_path_after: Duration,
    /// From the first ping until the target is suspected.
    pub(super) window: Duration,
}

impl LocalHealth {
    pub(super) fn score(&self) -> u8 {
        self.score
    }

    pub(super) fn loss(&self) -> f32 {
        self.loss
    }

    /// What delays are multiplied by: 1 when all is well.
    pub(super) fn stretch(&self) -> u32 {
        1 + u32::from(self.score)
    }

    /// Something went wrong that may well be this member's own fault.
    pub(super) fn worse(&mut self) {
        self.score = (self.score + 1).min(SCORE_MAX);
    }

    /// A probe came back.
    pub(super) fn better(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// A probe was answered, after `rtt` if it was answered directly. `lost`: its first ping was not.
    pub(super) fn answered(&mut self, lost: bool, rtt: Option<Duration>) {
        let sample = if lost { 1.0 } else { 0.0 };
        self.loss += (sample - self.loss) * LOSS_WEIGHT;
        if let Some(rtt) = rtt {
            self.rtt = Some(smooth(self.rtt, rtt));
        }
    }

    /// The timing of a probe of a member whose round-trip time is `rtt`, if known.
    pub(super) fn pace(&self, config: &Config, rtt: Option<Duration>) -> Pace {
        let rtt = rtt.max(self.rtt).unwrap_or_default();
        let window = config.probe_window.max(rtt * 6).mul_f32(1.0 + self.loss);
        let spacing = (window / self.tries())
            .clamp(SPACING.0, SPACING.1)
            .max(rtt * 2);
        let stretch = self.stretch();
        Pace {
            spacing: spacing * stretch,
            second_path_after: config.second_path_after.max(rtt * 3) * stretch,
            window: window * stretch,
        }
    }

    /// How long a suspicion lasts among `members`.
    pub(super) fn suspicion(&self, config: &Config, members: usize) -> Duration {
        // No logarithm of the standard library: what that comes to may differ from one computer to another, and then the same
        // seed would not be the same simulation.
        let tenfolds = libm::log10f(members.max(10) as f32 / 10.0);
        let calm = config.suspicion + config.suspicion_per_tenfold.mul_f32(tenfolds);
        // As many round trips as it takes to get one through.
        calm.mul_f32((1.0 / (1.0 - self.loss)).min(SUSPICION_STRETCH_MAX)) * self.stretch()
    }

    /// How many pings make it unlikely that all are lost.
    fn tries(&self) -> u32 {
        let loss = self.loss.clamp(0.02, 0.9);
        (libm::logf(FALSE_FAILURE) / libm::logf(loss)).ceil() as u32
    }
}

/// Moves a smoothed round-trip time towards a new measurement.
pub(super) fn smooth(before: Option<Duration>, measured: Duration) -> Duration {
    let measured = measured.min(RTT_MAX);
    before.map_or(measured, |before| (before * 7 + measured) / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ill_health_stretches_every_delay() {
        let config = Config::default();
        let mut health = LocalHealth::default();
        let well = health.pace(&config, None);
        health.worse();
        let ill = health.pace(&config, None);
        assert_eq!(ill.window, well.window * 2);
        assert_eq!(ill.spacing, well.spacing * 2);
        let suspicion = health.suspicion(&config, 10).as_secs_f32();
        assert!((suspicion / config.suspicion.as_secs_f32() - 2.0).abs() < 0.001);
        for _ in 0..20 {
            health.worse();
        }
        assert_eq!(health.score(), SCORE_MAX);
    }

    #[test]
    fn loss_brings_pings_closer_together() {
        let config = Config::default();
        let mut health = LocalHealth::default();
        let calm = health.pace(&config, None);
        for ping in 0..200 {
            health.answered(ping % 2 == 0, None);
        }
        assert!((0.4..0.6).contains(&health.loss()), "{}", health.loss());
        let lossy = health.pace(&config, None);
        assert!(
            lossy.window / lossy.spacing.as_millis() as u32
                > calm.window / calm.spacing.as_millis() as u32
        );
        assert!(lossy.spacing < calm.spacing && lossy.window > calm.window);
    }

    #[test]
    fn a_suspicion_grows_modestly_with_the_mesh() {
        let health = LocalHealth::default();
        let config = Config::default();
        let seconds =
            [2, 10, 100, 10_000].map(|members| health.suspicion(&config, members).as_secs_f32());
        assert_eq!(
            seconds.map(|s| (s * 10.0).round()),
            [12.0, 12.0, 19.0, 33.0]
        );
    }
}
