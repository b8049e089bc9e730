//! How long healing waits for what, with the reasons. All in milliseconds.

use crate::fleet::limits::{MINUTE_MS, SECOND_MS};

/// What the mesh needs to be sure that a machine does not answer (its p99 from 10 to 10,000 machines). A leader
/// has to have watched the mesh for this long before it takes anything away: what it has not heard yet, it may hear by then.
pub const DETECTION_MS: u64 = 6 * SECOND_MS;

/// While more machines than usual went silent within this time, membership is still moving: what looks like a few
/// failures may be a large one that has only begun to show.
pub const MOVING_MS: u64 = SECOND_MS;

/// How long the provider's proofs must have stood before machines that are proved gone stop counting, where without
/// that the acknowledgements are not more than half. When most machines vanish at one moment the observer is to be
/// doubted first, and the machines get time to return.
pub const PROOF_STANDS_MS: u64 = MINUTE_MS;

/// How long after a change of leadership machines have to return, when many are missing: that is what a whole site
/// that lost and regained its power looks like.
pub const RETURN_MS: u64 = MINUTE_MS;

/// How long before the leader changed a machine must have been there to be one that was there all the time: an election
/// takes a few seconds, also after a power cut.
pub const STOOD_MS: u64 = 20 * SECOND_MS;

/// A witness's report is good for this long.
pub const REPORT_MS: u64 = 30 * SECOND_MS;

/// How many witnesses must have reported before silence counts, where there are as many.
pub const WITNESSES_MIN: usize = 2;

/// How long machines that fell silent together must have been silent before one of them is replaced unproved. It is the
/// network that takes several at a time, and a switch that restarts or a link that finds another way is back by then.
pub const CROWD_SILENT_MS: u64 = 12 * SECOND_MS;

/// Machines that fell silent within this time of each other did so together: what one switch takes away is noticed
/// within seconds.
pub const TOGETHER_MS: u64 = 10 * SECOND_MS;

/// How many must have fallen silent together. Two may by chance.
pub const CROWD_MIN: usize = 3;

/// How long an agent may be down while its host answers, or a workload fail, before anything is done about it: what
/// supervises them there restarts them sooner.
pub const SUPERVISOR_MS: u64 = 30 * SECOND_MS;

/// The longest announced reboot that is waited for. Bare metal with a memory test takes half as long.
pub const REBOOT_MS_MAX: u64 = 60 * MINUTE_MS;

/// How long after a change of leadership a machine that should have joined long ago still has: while nobody led,
/// nobody could let it in.
pub const JOIN_AFTER_CHANGE_MS: u64 = 30 * SECOND_MS;

/// How long a rule may hold what is under way until that is given up, and decided anew: so long it keeps a place in its group's
/// budget from others.
pub const HELD_MS_MAX: u64 = 10 * MINUTE_MS;

/// How long a provider's word is waited for before a machine is judged without: as long as one question to a provider
/// may take, and a little for asking.
pub const PROVIDER_WORD_MS: u64 = 12 * SECOND_MS;

/// How long a machine that was made, or whose workload was mended, is on trial at most, where its check takes long to fail.
pub const TRIAL_MS_MAX: u64 = 5 * MINUTE_MS;

/// How long the leader may take to hear that a new machine's workload fails: as long as the mesh takes for any news.
pub const TOLD_MS: u64 = DETECTION_MS;

/// How long a workload must have failed before it is anything to decide about. A check that fails one moment and succeeds
/// the next would otherwise write two decisions into the log each time.
pub const WORKLOAD_STANDS_MS: u64 = 10 * SECOND_MS;

/// Failures that begin within this time of each other are of one moment, wherever they are: what has no other trait in common
/// may have a switch, a disk array or a command in common that nobody declared. Silence is noticed up to some seconds late.
pub const MOMENT_MS: u64 = 3 * SECOND_MS;

/// Failures that begin within this time of each other may be one event. A rack that loses its power takes seconds to be
/// noticed; a change that is rolled out by other means takes minutes.
pub const EVENT_MS: u64 = 5 * MINUTE_MS;
