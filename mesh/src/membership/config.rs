//! The membership's settings, with their defaults, costs and reasons. Measurements: `docs/timing.md`.

use std::time::Duration;

/// How many machines one table holds, the dead and the gone included.
///
/// 10,000 machines and as many replacements in a bad day; 16,384 entries of about 200 bytes are 3 MB. When the
/// table is full the longest dead make room; when all are alive, strangers are ignored and counted.
pub const MEMBERS_MAX: usize = 16_384;

/// Timing of the membership. The defaults suit 1 to 10,000 machines in one region; all members should agree.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Between two probes of a healthy member, and up to a tenth more. Default 1.2 s; costs 1.25 pings and as many answers
    /// per period. A member that hears no ping of the one before it in the ring waits 1.2 to 1.3 periods.
    pub probe_period: Duration,
    /// From the first ping of a probe until the target is suspected. Default 500 ms; grows with the round-trip time,
    /// measured loss and this machine's own ill health.
    pub probe_window: Duration,
    /// From the first ping until others are asked to ping and the port is tried. Default 200 ms. Each costs the
    /// work of three members and one packet of 1200 bytes, so it waits until a mere lost packet has been repeated.
    pub second_path_after: Duration,
    /// From suspicion until the verdict, with up to ten members. Default 1.2 s.
    pub suspicion: Duration,
    /// What `suspicion` grows by with each tenfold of members. Default 700 ms: a rumour needs longer to reach everybody.
    pub suspicion_per_tenfold: Duration,
    /// Between two rounds of gossip while there is something to tell. Default 100 ms; nothing is sent otherwise.
    pub gossip_interval: Duration,
    /// Members told per round. Default 3.
    pub gossip_fanout: usize,
    /// The shortest and the longest time between two comparisons of the table's hash with a random member.
    /// Default 30 to 60 s; costs one datagram unless the hashes differ.
    pub sync_interval: (Duration, Duration),
    /// How long the dead are remembered, so that `status` shows them and nothing resurrects them. Default 24 h.
    pub remember_dead: Duration,
    /// The longest pause between two attempts to find company when this machine knows nobody alive. Default 30 s.
    pub rejoin_max: Duration,
    /// Which safeguards are in force. All, but for tests that show what each of them is good for.
    pub(crate) safeguards: Safeguards,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            probe_period: Duration::from_millis(1200),
            probe_window: Duration::from_millis(500),
            second_path_after: Duration::from_millis(200),
            suspicion: Duration::from_millis(1200),
            suspicion_per_tenfold: Duration::from_millis(700),
            gossip_interval: Duration::from_millis(100),
            gossip_fanout: 3,
            sync_interval: (Duration::from_secs(30), Duration::from_secs(60)),
            remember_dead: Duration::from_secs(24 * 60 * 60),
            rejoin_max: Duration::from_secs(30),
            safeguards: Safeguards::default(),
        }
    }
}

impl Config {
    /// For sites up to 300 ms apart: probes wait for the longer way, verdicts take about three times as long, and there
    /// is a third of the packets.
    pub fn wan() -> Self {
        Self {
            probe_period: Duration::from_secs(3),
            probe_window: Duration::from_millis(2000),
            second_path_after: Duration::from_millis(1000),
            suspicion: Duration::from_secs(5),
            suspicion_per_tenfold: Duration::from_millis(1800),
            gossip_interval: Duration::from_millis(300),
            ..Self::default()
        }
    }
}

/// The safeguards that plain SWIM and foca lack. Each test that turns one off shows the failure it prevents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Safeguards {
    /// Deliver a suspicion's end to foca only if that life is still suspect at that incarnation.
    pub(crate) stale_timer_filter: bool,
    /// Slow down when this machine's own probes fail for want of a network (Lifeguard).
    pub(crate) local_health: bool,
    /// Round retransmissions up, as memberlist does; foca's own formula truncates.
    pub(crate) rounded_retransmits: bool,
    /// Tell the neighbours in the ring besides random members.
    pub(crate) ring_gossip: bool,
    /// Believe third parties in a state transfer, and the verdicts of whoever was dead to us until now, only as far as a
    /// first-hand probe confirms them.
    pub(crate) verified_imports: bool,
    /// Forgive deadlines that passed while this process was not running.
    pub(crate) late_wake: bool,
    /// Ask the port and repeat pings before suspecting.
    pub(crate) second_path: bool,
}

impl Default for Safeguards {
    fn default() -> Self {
        Self {
            stale_timer_filter: true,
            local_health: true,
            rounded_retransmits: true,
            ring_gossip: true,
            verified_imports: true,
            late_wake: true,
            second_path: true,
        }
    }
}

/// How often one update is sent on, by the number of members (this one included).
///
/// memberlist's `4 * ceil(log10(n + 1))`, at least 8: 8, 12, 16 and 20 for 10, 100, 1000 and 10,000 members.
pub(super) fn retransmits(members: usize, rounded: bool) -> u8 {
    let magnitude = libm::log10(members as f64 + 1.0);
    let count = if rounded {
        (4.0 * magnitude.ceil()).max(8.0)
    } else {
        (4.0 * magnitude).max(1.0)
    };
    count as u8
}

#[cfg(test)]
mod tests {
    use super::retransmits;

    #[test]
    fn retransmits_are_rounded_up() {
        let counts = [1, 10, 50, 100, 1000, 10_000].map(|members| retransmits(members, true));
        assert_eq!(counts, [8, 8, 8, 12, 16, 20]);
        assert_eq!(retransmits(50, false), 6, "what foca would do by itself");
    }
}
