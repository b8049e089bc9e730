//! Whole fleets on real back ends, from the examples that the documentation shows.

mod aws;
mod docker;
mod infrakit;
mod lxd;
mod redfish;
