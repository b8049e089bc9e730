//! # muster-mesh: who is alive, who may speak, and what all agree on
//!
//! The mesh knows machines, not groups. Its parts, from the bottom up:
//!
//! - [`identity`]: identifiers of clusters, machines and their lives.
//! - [`wire`]: what all datagrams have in common.
//! - [`membership`]: who is alive.
//! - [`consensus`]: the coordinators' log, and the copy of its state that every machine has.
//! - [`records`]: what each machine says of itself.
//!
//! Cores do no I/O: they take time, randomness and input as arguments and return what to do.

pub mod consensus;
pub mod identity;
pub mod membership;
pub mod records;
pub mod wire;
