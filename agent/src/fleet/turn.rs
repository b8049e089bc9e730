//! What would have turned a rule's verdict.

use serde::{Deserialize, Serialize};

use super::rung::Rung;

/// The change that alone would have turned what a rule said. Each rule knows on which of its grounds it passed or held, and
/// says so by this; the words for it are made when somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    // === evidence ===
    /// It passed: nobody gets an answer from the machine. An answer to anybody turns it.
    AnyAnswer,
    /// It passed: the machine answers the mesh. Silence that nobody has looked into turns it.
    Unheard,
    /// It passed: the machine never joined. Having joined leaves nothing to decide.
    Joining,
    /// It passed: the workload has failed. One that works leaves nothing to decide.
    WorksAgain,
    /// It held: somebody gets an answer. No answer to anybody turns it.
    NoAnswer,
    /// It held: nobody has looked into the machine's silence. Witnesses that get no answer turn it.
    LookedInto,
    /// It held: the machine said goodbye, and answers. Silence turns it.
    Quiet,

    // === ladder ===
    /// It passed with this rung. Its having been in vain within the hour leads to another one.
    InVain(Rung),
    /// A provisioner that made the machine, or none, turns it.
    Made,
    /// A provisioner or flavor with this rung, or without it, turns it.
    Way(Rung),

    // === paused, cordoned, mode ===
    /// A pause, or none.
    Pause,
    /// A cordon, or none.
    Cordon,
    /// Another mode of the group.
    Mode,
    /// A person's approval, or none.
    Approval,

    // === quorum ===
    /// More answers, or fewer, to the leader.
    Support,

    // === settled ===
    /// It passed: all is quiet. A leader that began a moment ago, or machines that fell silent together, turn it.
    Unrest,
    /// It held. Time turns it.
    Rest,

    // === grace ===
    /// It passed at once, for a proof. Without that the wait turns it.
    Unproved,
    /// It passed: it has lasted long enough. Less time turns it.
    Sooner,
    /// It held, for this. Time turns it.
    Later(Wait),

    // === backoff ===
    /// It passed: nothing failed lately. An operation that failed a moment ago turns it.
    Failure,
    /// It held after some failures. Time, or a person, turns it.
    Retry,
    /// It held because a disk is suspected. Time, or a person, turns it.
    Disk,

    // === budget ===
    /// It passed. As many repairs at once, or within the hour, as are allowed turn it.
    Spending,
    /// It passed. As many removals at once as are allowed turn it.
    Removals,
    /// It held: as many as are allowed are under way in the group. The end of one turns it.
    Ended,
    /// It held: as many as are allowed are under way in the fleet or a zone. The end of one turns it.
    EndedElsewhere,
    /// It held: the group's hour is spent. Time turns it.
    Income,
    /// It held: the hour of the fleet, or of a zone, is spent. Time turns it.
    IncomeElsewhere,
    /// It held: the group has no budget at all. Having one turns it.
    Allowance,

    // === correlation ===
    /// It passed for want of so many more that failed with it. So many, one of them being healed, turn it.
    Company(u32),
    /// It passed as the canary. Another one that is being healed turns it.
    OtherCanary,
    /// It passed because the canary is well. One that has yet to prove that turns it.
    CanaryOnTrial,
    /// It held for a canary. One that has proved to be well turns it.
    CanaryWell,

    // === workload-quorum, last-good-replica ===
    /// It passed. So many fewer members that are well turn it.
    FewerWell(u32),
    /// It held. So many more members that are well turn it.
    MoreWell(u32),
    /// It held: another member of its ensemble goes first. The end of that turns it.
    Predecessor,
    /// It held: the flavor is unknown. One that is known turns it.
    Flavor,
    /// It passed because others are well. None of them being well turns it.
    NoOtherWell,
    /// It held. Another one that is well turns it.
    OtherWell,

    // === fence ===
    /// It passed: a provisioner has proved the machine off, or can. One that hasn't and can't turns it.
    NoProof,
    /// It passed: the machine runs under a lease. Running without one turns it, as long as nobody can prove it off.
    NoLease,
    /// It held. A provisioner that can prove it off turns it.
    Proof,
    /// It held. A provisioner that can prove it off turns it, and so does a lease.
    ProofOrLease,
    /// It held: no provisioner made the machine. Forgetting it is what is left.
    Forgetting,
}

/// What `grace` waits out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Silence, for as long as the spec says.
    Silence,
    /// The silence of several at once, which the network may be the cause of.
    Crowd,
    /// The time that whatever supervises an agent or a workload may take.
    Supervisor,
    /// A boot.
    Boot,
    /// A change of the group.
    Change,
}
