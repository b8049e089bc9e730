//! Every limit of the fleet state in one place, with its reason.
//!
//! The state lives in every machine's memory and travels whole in snapshots (at most 256 MiB, see
//! `muster_mesh::consensus`), so everything in it is bounded. The limits are part of the replicated state
//! machine: changing one changes what a command does, so it needs a new version of the command format.

/// Machines in the roster: the target of 10,000, plus as many replacements as may be under way.
pub const MACHINES_MAX: usize = 16_384;

/// Groups.
pub const GROUPS_MAX: usize = 1024;

/// Members of one group of pets. Each is named in the specification.
pub const PETS_MAX: usize = 2048;

/// Bytes of one group's specification, encoded. Scripts belong into images or behind a URL.
pub const SPEC_BYTES_MAX: usize = 64 * 1024;

/// Different templates (instance and flavor) of one group that machines may still run at one time.
pub const TEMPLATES_MAX: usize = 32;

/// Open intents of the fleet: each costs its executor a task and some calls to a provider.
pub const INTENTS_OPEN_MAX: usize = 2048;

/// Ended intents that are remembered, so that `explain` can tell how a recent one went.
pub const INTENTS_ENDED_MAX: usize = 256;

/// Machines on trial at one time whose intents are remembered besides, so that the trials end: as many as may be made at one
/// time.
pub const TRIALS_MAX: usize = INTENTS_OPEN_MAX;

/// How long a new machine may be on trial, in milliseconds: twice what the decision core gives a check that takes long.
pub const TRIAL_MS_MAX: u64 = 10 * MINUTE_MS;

/// Decisions that are remembered. Those that open intents and standing concerns refer to go last.
pub const DECISIONS_MAX: usize = 512;

/// Events that are remembered.
pub const EVENTS_MAX: usize = 1024;

/// Join tokens that were made by people; tokens of ordered machines are not counted.
pub const TOKENS_MAX: usize = 1024;

/// How often one token may be used at most.
pub const TOKEN_USES_MAX: u32 = 16_384;

/// How long a token may be valid at most, in milliseconds (one year).
pub const TOKEN_LIFETIME_MS_MAX: u64 = 366 * DAY_MS;

/// Operators.
pub const OPERATORS_MAX: usize = 256;

/// Coordinators' seats at one time: at most 7 voters, and those that come and go.
pub const SEATS_MAX: usize = 64;

/// Pauses in effect at one time: one for each group and a few others.
pub const PAUSES_MAX: usize = GROUPS_MAX + 64;

/// Orphans that are remembered; more of them need no names to be noticed.
pub const ORPHANS_MAX: usize = 64;

/// Pieces of hardware in quarantine that are remembered. Where more are, something else is broken than they.
pub const QUARANTINE_MAX: usize = 256;

/// Labels of one machine or group.
pub const LABELS_MAX: usize = 32;

/// Bytes of a label's key.
pub const LABEL_KEY_BYTES_MAX: usize = 63;

/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES_MAX: usize = 253;

/// Zones of one group's placement.
pub const ZONES_MAX: usize = 64;

/// Provisioners that keep a ledger. How much is in each is limited by [`Table`](muster_provisioners::Table).
pub const LEDGERS_MAX: usize = 8;

/// Bytes of all ledgers together: a copy of the state must stay one that a machine takes over.
pub const LEDGERS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of a zone's name, of a provisioner's and of a flavor's.
pub const WORD_BYTES_MAX: usize = 253;

/// Bytes of what a provisioner says of one instance (its ID and properties), encoded.
pub const INSTANCE_BYTES_MAX: usize = 8 * 1024;

/// Bytes of the cluster's CA certificate.
pub const CA_BYTES_MAX: usize = 16 * 1024;

/// Group specifications in one `ApplySpecs`.
pub const SPECS_PER_COMMAND_MAX: usize = 64;

/// Proposals in one `Decide`. What does not fit comes with the next look, a moment later.
pub const PROPOSALS_MAX: usize = 64;

/// Pieces of evidence kept with one decision.
pub const EVIDENCE_MAX: usize = 16;

/// Checks kept with one decision: each rule once.
pub const CHECKS_MAX: usize = 24;

/// How far ahead of the counter a proposal's sequence number may be: enough for the orders of a few batches that
/// were refused, and never enough to use the numbers up.
pub const SEQUENCE_AHEAD_MAX: u64 = 4 * PROPOSALS_MAX as u64;

/// How often a step is tried before its intent fails.
///
/// With the executor's back-off (1 s doubling to 60 s) this is some eight minutes of a provider that says no.
pub const STEP_ATTEMPTS_MAX: u32 = 12;

/// How often draining is tried before the machine is taken away undrained: draining is a courtesy.
pub const DRAIN_ATTEMPTS_MAX: u32 = 3;

/// How often a rung of the ladder is tried before it counts as failed. The next rung may do better.
pub const RUNG_ATTEMPTS_MAX: u32 = 3;

/// How often one rung may help one machine within an hour. What has to be cured again and again is not cured.
pub const RUNG_USES_MAX: usize = 2;

/// Treatments that are remembered per machine: each rung as often as it may be used within an hour, and as often again.
pub const TREATMENTS_KEPT_MAX: usize = 12;

/// How long a workload that was restarted may take until its check finds it well, in milliseconds.
pub const RESTART_MS: u64 = MINUTE_MS;

/// How often a pet may be replaced within [`HOUR_MS`]. Who dies again with the same disk, dies of the disk.
pub const PET_REPLACED_MAX: usize = 2;

/// After how long a machine that does not take part in the mesh is asked to drain again, in milliseconds.
pub const ABSENT_RETRY_MS: u64 = 5 * SECOND_MS;

/// The longest wait between two attempts of a step, in milliseconds.
pub const RETRY_MS_MAX: u64 = MINUTE_MS;

/// Failed orders of a group without a success between them, of those that still count, after which the group stops
/// ordering for [`HOUR_MS`]: something is wrong that more orders don't mend.
pub const FAILED_ORDERS_MAX: usize = 3;

/// Failed orders that are remembered per group.
pub const FAILURES_KEPT_MAX: usize = 16;

/// The wait after a group's first failed order, in milliseconds; doubles with each further one.
pub const BACKOFF_MS_MIN: u64 = 30 * SECOND_MS;

/// Orders by hand that stand or are under way at one time: more are for a program, and groups are for those.
pub const DEMANDS_OPEN_MAX: usize = 256;

/// Orders by hand that have ended and are remembered, so that whoever waits for one learns how.
pub const DEMANDS_ENDED_MAX: usize = 64;

/// How long an order by hand may stand, in milliseconds. A day later the situation is another one.
pub const DEMAND_MS_MAX: u64 = DAY_MS;

/// How long an approval is good for, in milliseconds. After an hour the situation is another one.
pub const APPROVAL_MS: u64 = HOUR_MS;

/// How long a hold stands in the words in which it was put on record, at least, in milliseconds.
pub const HOLD_RENEWED_MS_MIN: u64 = 15 * SECOND_MS;

/// How long a revoked machine stays on the list, in milliseconds: twice a leaf certificate's lifetime. Who is not
/// in the roster gets no new certificate, so after that there is nothing left to refuse.
pub const REVOKED_KEPT_MS: u64 = 2 * DAY_MS;

/// One second in milliseconds.
pub const SECOND_MS: u64 = 1000;
/// One minute in milliseconds.
pub const MINUTE_MS: u64 = 60 * SECOND_MS;
/// One hour in milliseconds.
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
/// One day in milliseconds.
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// How far one command may move the state's clock, in milliseconds: a month. Leaders put their clocks right; this is for one
/// that can't, and for a time that nobody meant. A fleet that nobody led for longer catches up command by command.
pub const CLOCK_JUMP_MS_MAX: u64 = 30 * 24 * HOUR_MS;
