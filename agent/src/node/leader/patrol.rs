//! Looking, from time to time, for instances that nobody runs on. Nothing follows but that they are on record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use muster_provisioners::{Tags, tag};
use tokio::time::sleep;

use super::lists;
use crate::fleet::FleetState;
use crate::heal::{Listing, OrphanWatch};
use crate::node::propose::propose_in;
use crate::node::shared::Shared;

/// A new leader has other things to do first.
const FIRST: Duration = Duration::from_secs(20);

/// How often provisioners are asked while nothing is strange.
const CALM: Duration = Duration::from_secs(300);

/// How often while something was seen that is not certain yet.
const CURIOUS: Duration = Duration::from_secs(30);

/// Patrols until it is dropped.
pub(super) async fn run(shared: &Arc<Shared>, term: u64) {
    let mut watch = OrphanWatch::default();
    sleep(FIRST).await;
    loop {
        let lists = ask_all(shared).await;
        let lists = lists.iter().map(|(name, listing)| (name.as_str(), listing));
        let now_ms = shared.fleet_now_ms();
        let (command, curious) = shared.replica.read(|state, _| {
            let command = watch.look(state, lists, now_ms);
            (command, watch.is_curious(state))
        });
        if let Some(command) = command
            && let Err(error) = propose_in(shared, Some(term), None, command).await
        {
            tracing::debug!(%error, "what is known of orphans was not put on record");
        }
        sleep(if curious { CURIOUS } else { CALM }).await;
    }
}

/// The lists of all provisioners that the fleet uses.
async fn ask_all(shared: &Shared) -> Vec<(String, Listing)> {
    let (names, cluster) = shared.replica.read(|state, _| {
        let cluster = state.cluster.as_ref();
        (names(state), cluster.map(|cluster| cluster.id.to_string()))
    });
    let filter = Tags::new().with(tag::CLUSTER, cluster.unwrap_or_default());
    let mut listings = Vec::new();
    for name in names {
        let built = shared.provisioners.get(&name).cloned();
        let listing = lists::ask_once(built, filter.clone(), shared.mesh.steady()).await;
        listings.push((name, listing));
    }
    listings
}

/// The names of all provisioners that the fleet uses, or has used for what is left of it.
pub(super) fn names(state: &FleetState) -> BTreeSet<String> {
    let declared = state.groups.values();
    let declared = declared.map(|group| group.spec.instance.provisioner.clone());
    let made = state.machines.values();
    let made = made.filter_map(|machine| Some(machine.instance.as_ref()?.provisioner.clone()));
    let known = state.orphans.iter();
    let known = known.map(|orphan| orphan.provisioner.clone());
    let aside = state.quarantine.iter();
    let aside = aside.map(|aside| aside.provisioner.clone());
    declared.chain(made).chain(known).chain(aside).collect()
}
