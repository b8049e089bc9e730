//! # muster: the agent that is baked into every machine, and the command that asks it
//!
//! - [`api`]: how people and programs ask a machine.

pub mod api;
