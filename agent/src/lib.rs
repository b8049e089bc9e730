//! # muster: the agent that is baked into every machine, and the command that asks it
//!
//! - [`api`]: how people and programs ask a machine.
//! - [`config`]: what an agent is told before it starts.
//! - [`health`]: what this machine reports of itself.

pub mod api;
pub mod config;
pub mod health;
