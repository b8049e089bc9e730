//! # muster: the agent that is baked into every machine, and the command that asks it
//!
//! - [`answers`]: from what this machine knows to what people ask.
//! - [`api`]: how people and programs ask a machine.
//! - [`cli`]: the `muster` command.
//! - [`config`]: what an agent is told before it starts.
//! - [`dashboard`]: the live view.
//! - `dev`: a whole fleet on this machine, to try things out.
//! - [`execute`]: carries out committed intents through provisioners.
//! - [`first_process`]: what the first process of a container does for all others.
//! - [`fleet`]: what all machines agree on: the replicated state machine. Pure.
//! - [`flight`]: the last minutes of what peers said of themselves, kept for when they die. Pure.
//! - [`guard`]: the process that ends a leased workload in time.
//! - [`heal`]: from what was seen to what is done: diagnosis and decision. Pure.
//! - [`health`]: what this machine reports of itself.
//! - [`lint`]: what can be proved about specs without running them. Pure.
//! - [`node`]: one agent's life: the wiring of all parts.
//! - [`observe`]: logs, metrics, and whether the agent is alive and ready.
//! - [`replay`]: decides again what was decided. Pure.
//! - [`simulate`]: a whole fleet in virtual time, with faults, from a seed. Pure.
//! - [`spec`]: group specs as people write them.

pub mod answers;
pub mod api;
pub mod cli;
pub mod config;
pub mod dashboard;
mod dev;
pub mod execute;
pub mod first_process;
pub mod fleet;
pub mod flight;
pub mod gateway;
pub mod guard;
pub mod heal;
pub mod health;
pub mod lint;
pub mod node;
pub mod observe;
pub mod replay;
pub mod simulate;
pub mod spec;
