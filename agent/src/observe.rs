//! What the agent says of itself to people and to monitoring: logs, metrics, and whether it is alive and ready.
//!
//! - [`log`]: `tracing` on standard error, human or JSON, with a level that can be changed at run time.
//! - [`metrics`]: the agent's figures as Prometheus text.
//! - [`http`]: `/metrics`, `/live` and `/ready` on an optional listener.
//! - [`readiness`]: what still has to happen before the agent is of use to others.

pub mod http;
pub mod log;
pub mod metrics;
pub mod readiness;
