//! The agent's metrics, rendered when somebody asks.

use std::sync::Arc;

use tokio::sync::watch;

use super::desk;
use super::shared::Shared;
use crate::answers;
use crate::health::Report;
use crate::observe::metrics::{Build, FleetStats, FlightStats, HealthStats, ProcessStats, render};

/// Renders all metrics as Prometheus text.
pub(super) fn renderer(
    shared: &Arc<Shared>,
    report: watch::Receiver<Report>,
) -> impl Fn() -> String + Clone + Send + Sync + 'static {
    let shared = Arc::clone(shared);
    move || {
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
            machine: shared.name(shared.me),
            cluster: shared.credentials.borrow().cluster().to_string(),
        };
        let fleet = fleet(&shared);
        let health = HealthStats(report.borrow().clone());
        let transport = shared.transport.stats();
        let (flight_peers, flight_bytes) = shared.mesh.flights().size();
        let flight = FlightStats {
            peers: flight_peers as u64,
            bytes: flight_bytes as u64,
        };
        render(&[
            &build,
            &fleet,
            &health,
            &transport,
            &flight,
            &ProcessStats::read(),
        ])
    }
}

fn fleet(shared: &Shared) -> FleetStats {
    let coordinator = shared.council.coordinator().is_some();
    let leading = shared.leads();
    let applied_index = shared.replica.at().map_or(0, |at| at.index);
    desk::snapshot(shared, |snapshot| FleetStats {
        coordinator,
        leading,
        applied_index,
        ..answers::figures(snapshot)
    })
}
