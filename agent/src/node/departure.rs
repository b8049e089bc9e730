//! Taking leave: saying so in the record first, then in the membership.

use std::sync::Arc;
use std::time::Duration;

use muster_mesh::clock::unix_ms;
use muster_mesh::records::Leaving;

use super::mesh::Input;
use super::profile;
use super::shared::Shared;
use super::{Ended, leave_mesh};

/// How long the announcement has to reach a few peers before the machine goes anyway.
const ANNOUNCE: Duration = Duration::from_millis(700);

/// A machine that was told to stop is expected back within this time; after that it is judged like any other.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// Tells the mesh that this machine stops for a while, or leaves for good, and gives the word time to spread.
pub(super) async fn say_goodbye(shared: &Arc<Shared>, ended: Ended) {
    let now_ms = unix_ms();
    let back_within = u64::try_from(BACK_WITHIN.as_millis()).unwrap_or(u64::MAX);
    let leaving = match ended {
        Ended::Stopped => Leaving {
            at_ms: now_ms,
            until_ms: Some(now_ms.saturating_add(back_within)),
            reason: "the agent was told to stop".to_owned(),
        },
        Ended::Left => Leaving {
            at_ms: now_ms,
            until_ms: None,
            reason: "left the mesh".to_owned(),
        },
    };
    let profile = profile::compose(shared, Some(leaving));
    shared.mesh.tell(Input::Profile(Box::new(profile))).await;
    let alone = shared.mesh.look().active().count() <= 1;
    if !alone {
        tokio::time::sleep(ANNOUNCE).await;
    }
    leave_mesh(&shared.mesh).await;
}
