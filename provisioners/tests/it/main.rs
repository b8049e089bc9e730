//! Tests of the provisioners as a whole: the conformance suite against each, and what only `process` has to promise.

mod aws;
mod docker;
mod fake;
mod infrakit;
mod lxd;
mod process;
mod redfish;
