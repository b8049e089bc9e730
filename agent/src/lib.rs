//! # muster: the agent that is baked into every machine, and the command that asks it
//!
//! - [`api`]: how people and programs ask a machine.
//! - [`config`]: what an agent is told before it starts.

pub mod api;
pub mod config;
