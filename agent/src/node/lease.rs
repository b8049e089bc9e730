//! Leases: the machine's side, which keeps its own alive, and what goes over the wire.
//!
//! Who runs its workload under a lease only, and why two copies can't run, is in `docs/healing.md`, *Leases*.

mod keeper;
mod wire;

pub(super) use keeper::{Leased, restart, run};
pub(super) use wire::{LEASE, LeaseAnswer, LeaseRequest};
