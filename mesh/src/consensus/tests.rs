//! Coordinators and their replicas in one process, over a network that loses, delays and cuts.

mod changes;
mod chaos;
mod cluster;
mod cost;
mod crash;
mod elections;
mod following;
mod refusals;
mod suite;
