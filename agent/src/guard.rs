//! # The guard of a leased workload: a small process beside the agent
//!
//! A pet's workload may run only as long as its lease lasts, also when the agent hangs, is stopped or has crashed. So the
//! agent does not hold the deadline itself. It starts a guard, which starts the workload, and tells it with each renewal
//! until when it may go on. Where no word comes, the guard
//!
//! 1. runs the flavor's `stop`, as long before the end as the group allows for stopping;
//! 2. kills, just before the end, everything of the workload that is still there and carries its mark ([`marked`]);
//! 3. is itself killed by the kernel at the end, by a timer of its own that sends `SIGKILL`. With it goes the process that
//!    it started, for which it asked the kernel, too. So that one ends in time even when every process of the machine is
//!    stopped or frozen, and does not run one instruction when they are thawed.
//!
//! All of it goes by the clock that counts since the boot and through sleep, and that nobody sets.
//!
//! While a guard lives it holds a lock in its directory, and when it has ended its file says whether nothing of the
//! workload was left. A new life of the agent finds a guard of the last one, and goes on with it.

mod charge;
mod handle;
mod marked;
mod process;
mod timers;

pub use charge::{Charge, Ending, Standing};
pub use handle::{Guard, GuardError};
pub use marked::Known;
pub use process::{EXEC_COMMAND, GUARD_COMMAND, become_workload, run};
