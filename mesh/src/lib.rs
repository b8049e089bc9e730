//! # muster-mesh: who is alive, who may speak, and what all agree on
//!
//! The mesh knows machines, not groups. Its parts, from the bottom up:
//!
//! - [`identity`]: identifiers of clusters, machines and their lives.
//! - [`state_dir`]: small files that survive a crash, and the lock on an agent's directory.
//! - [`pki`]: the cluster's CA, leaf certificates, join tokens, revocation, signed records.
//! - [`transport`]: one QUIC endpoint: datagrams for gossip, streams for everything else.
//! - [`alarms`]: timers that cost an idle process nothing.
//! - [`wire`]: what all datagrams have in common.
//! - [`membership`]: who is alive.
//! - [`consensus`]: the coordinators' log, and the copy of its state that every machine has.
//! - [`records`]: what each machine says of itself.
//! - [`simulator`]: whole meshes in virtual time.
//!
//! Cores do no I/O: they take time, randomness and input as arguments and return what to do.

pub mod alarms;
pub mod clock;
pub mod consensus;
pub mod identity;
pub mod membership;
pub mod pki;
pub mod records;
pub mod simulator;
pub mod state_dir;
pub mod transport;
pub mod wire;
