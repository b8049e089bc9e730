//! Counters, for metrics and tests.

/// What the membership did since it was made. All grow only, but for the three gauges at the end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams produced and their bytes.
    pub datagrams_out: u64,
    /// Bytes of the datagrams produced, without the transport's framing.
    pub bytes_out: u64,
    /// Datagrams accepted.
    pub datagrams_in: u64,
    /// Datagrams and state transfers that do not decode.
    pub malformed: u64,
    /// Datagrams whose claimed sender is not the authenticated one.
    pub spoofed: u64,
    /// Datagrams ignored because a limit was reached: members, or events that the runtime has not fetched.
    pub refused_full: u64,
    /// Datagrams dropped because the runtime did not fetch them.
    pub transmits_dropped: u64,
    /// Probes begun.
    pub probes: u64,
    /// Probes that no path answered.
    pub probes_failed: u64,
    /// Pings repeated for want of an answer.
    pub pings_repeated: u64,
    /// Port checks asked for.
    pub checks: u64,
    /// Suspicions raised by this member.
    pub suspicions: u64,
    /// Suspicions of anybody that were refuted.
    pub refutations: u64,
    /// Verdicts put off because the suspect still gave signs of life.
    pub postponed: u64,
    /// Ends of suspicions not delivered because the suspect had refuted.
    pub stale_timers: u64,
    /// Deaths that this member declared.
    pub verdicts: u64,
    /// Times that this member had to object to a suspicion of itself.
    pub self_suspected: u64,
    /// Times that this member asked for a new generation.
    pub renewals: u64,
    /// Wake-ups that came too late to judge anybody.
    pub late_wakes: u64,
    /// Table hashes sent.
    pub hashes_out: u64,
    /// State transfers asked for.
    pub pulls: u64,
    /// Attempts to reach machines believed dead.
    pub rejoins: u64,
    /// Local health score now: 0 is well, 8 the worst.
    pub health_score: u8,
    /// Measured share of pings that needed a repetition now, 0 to 1.
    pub loss: f32,
    /// Updates that are still being passed on now.
    pub backlog: usize,
}
