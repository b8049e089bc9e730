//! A fleet, and one machine's view of it.

use std::collections::BTreeMap;

use muster_mesh::identity::{Generation, MachineId, Peer};

use crate::answers::{QuorumView, Seat, SeatsView, Snapshot};
use crate::fleet::testing::{Fleet, addr, cattle, pets};
use crate::fleet::{MemberStatus, Phase};
use crate::health::Level;
use crate::node::world::{Said, Seen, World};

/// A fleet of `seed-1`, `web-1` to `web-3`, and the pets `db-1` and `db-2`, as `seed-1` sees it.
pub(super) struct Scene {
    pub(super) fleet: Fleet,
    pub(super) world: World,
    pub(super) leader: Option<MachineId>,
    pub(super) quorum: QuorumView,
    pub(super) as_of_ms: u64,
    seats: SeatsView,
}

impl Scene {
    pub(super) fn new() -> Self {
        let mut fleet = Fleet::with(&[cattle("web", 3), pets("db", &["db-1", "db-2"])]);
        fleet.pass(60_000);
        let me = fleet.id("seed-1");
        let seat = |number, name| Seat {
            number,
            machine: fleet.id(name),
            log_index: Some(90 + number),
        };
        let peer = Peer {
            machine: me,
            addr: addr(1),
        };
        let mut scene = Self {
            world: World::alone(peer, Generation(7), fleet.now_ms),
            leader: Some(me),
            quorum: QuorumView {
                ok: true,
                lacking: false,
                detail: "3 of 3 coordinators and 6 of 6 machines answer".into(),
            },
            as_of_ms: fleet.now_ms - 250,
            seats: SeatsView {
                voters: vec![seat(1, "seed-1"), seat(2, "web-1"), seat(4, "db-1")],
                learners: vec![seat(5, "web-3")],
                last_index: Some(95),
            },
            fleet,
        };
        scene.meet_all();
        scene
    }

    /// Has the mesh know all machines that joined.
    pub(super) fn meet_all(&mut self) {
        let joined = self.fleet.state.machines.values();
        let joined = joined.filter(|machine| machine.phase == Phase::Joined);
        for (machine, last) in joined.zip(1..) {
            let seen = Seen {
                addr: addr(last),
                generation: Generation(7),
                status: MemberStatus::Alive,
                since_ms: machine.joined_ms.unwrap(),
                how: "",
                said: Some(said(machine.name.as_str(), self.fleet.now_ms - 1_000).into()),
            };
            let known = self
                .world
                .members
                .entry(machine.id)
                .or_insert_with(|| seen.clone());
            known.said = seen.said;
        }
    }

    /// Has the mesh hold a machine to be in this condition from now on.
    pub(super) fn see(&mut self, name: &str, status: MemberStatus) {
        let id = self.fleet.id(name);
        let seen = self.world.members.get_mut(&id).expect("the mesh knows it");
        seen.status = status;
        seen.since_ms = self.fleet.now_ms;
        if status == MemberStatus::Down {
            seen.how = "its port refused";
        }
    }

    pub(super) fn lose_quorum(&mut self) {
        self.leader = None;
        let detail = "1 of 3 coordinators answers; 2 are needed".into();
        self.quorum = QuorumView {
            ok: false,
            lacking: true,
            detail,
        };
    }

    pub(super) fn look<R>(&self, look: impl FnOnce(&Snapshot<'_>) -> R) -> R {
        look(&Snapshot {
            state: &self.fleet.state,
            world: &self.world,
            me: self.world.me,
            name: "seed-1",
            now_ms: self.fleet.now_ms,
            as_of_ms: self.as_of_ms,
            leader: self.leader,
            term: 3,
            seats: self.seats.clone(),
            quorum: self.quorum.clone(),
        })
    }
}

/// What a machine says of itself when all is well.
pub(super) fn said(name: &str, received_ms: u64) -> Said {
    Said {
        health: Level::Ok,
        reasons: Vec::new(),
        part: None,
        workload_unsteady: false,
        workload: None,
        leaving: None,
        version: "0.1.0".into(),
        name: name.into(),
        api: Some(format!("/run/{name}/muster.sock")),
        readings: Default::default(),
        pid: None,
        coordinates: false,
        log_failed: false,
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        received_ms,
    }
}
