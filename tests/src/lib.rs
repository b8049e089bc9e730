//! What scenario tests and the benchmark need: real agents, started, watched, killed, and always cleared away.
//!
//! Everything here stands outside of muster: it knows the command line, the public JSON and the process table, and
//! links nothing of muster itself. It blocks, since a test has nothing else to do, and it panics with what it saw,
//! since its callers are tests.

pub mod bench;
pub mod binary;
pub mod command;
pub mod fleet;
pub mod process;
pub mod slots;
pub mod status;
pub mod system;
pub mod wait;

pub use command::Answer;
pub use fleet::{Fleet, Options};
pub use status::{GroupRow, MachineRow, Status};
pub use wait::until;
