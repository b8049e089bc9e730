//! # muster-mesh: who is alive, who may speak, and what all agree on
//!
//! The mesh knows machines, not groups. Its parts, from the bottom up:
//!
//! - [`identity`]: identifiers of clusters, machines and their lives.
//!
//! Cores do no I/O: they take time, randomness and input as arguments and return what to do.

pub mod identity;
