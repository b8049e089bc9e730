//! Whole fleets on real back ends, from the examples that the documentation shows.

mod infrakit;
mod redfish;
//! Scenarios over whole fleets whose machines are made by real back ends.

mod lxd;
mod aws;
