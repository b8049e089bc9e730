//! Whole fleets on real back ends, from the examples that the documentation shows.

mod infrakit;
mod redfish;
