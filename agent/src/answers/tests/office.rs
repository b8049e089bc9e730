//! A desk over a scene: what a node would lend, with a log of one.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use muster_flavors as flavors;
use muster_mesh::identity::MachineId;
use muster_mesh::pki::ClusterCa;
use muster_provisioners as provisioners;
use tokio::sync::watch;

use super::scene::Scene;
use crate::answers::{Answers, Desk, Heard, LocalEvent, Snapshot};
use crate::api::types::{Done, RecoverOrder, Recovery};
use crate::api::{ApiError, Backend, Caller, ErrorKind, Request, Response};
use crate::fleet::testing::{START_MS, cluster};
use crate::fleet::{Command, Envelope, Reply, Text};
use crate::spec::Registries;

pub(super) const ME: Caller = Caller::Local { uid: 0, pid: None };

pub(super) struct Office {
    scene: Mutex<Scene>,
    pub(super) leads: AtomicBool,
    /// What was passed on to the leader.
    pub(super) forwarded: Mutex<Vec<Request>>,
    pub(super) ca: Option<Arc<ClusterCa>>,
    pub(super) local: Mutex<VecDeque<LocalEvent>>,
    /// What machines hold of whoever is asked about.
    pub(super) heard: Mutex<Vec<Heard>>,
    pub(super) left: AtomicBool,
    /// The orders to recover that it was given.
    pub(super) recovered: Mutex<Vec<RecoverOrder>>,
    filter: Mutex<String>,
    changes: watch::Sender<u64>,
    proposals: AtomicU64,
    /// So many proposals find that too few coordinators answer.
    pub(super) unheard: AtomicU64,
}

impl Office {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            scene: Mutex::new(Scene::new()),
            leads: AtomicBool::new(true),
            forwarded: Mutex::default(),
            ca: Some(Arc::new(ClusterCa::create(cluster(), START_MS).unwrap())),
            local: Mutex::default(),
            heard: Mutex::default(),
            left: AtomicBool::new(false),
            recovered: Mutex::default(),
            filter: Mutex::new("info".into()),
            changes: watch::Sender::new(0),
            proposals: AtomicU64::new(0),
            unheard: AtomicU64::new(0),
        })
    }

    pub(super) fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap()
    }

    /// Changes the scene and wakes whoever follows.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Scene) -> R) -> R {
        let result = change(&mut self.scene());
        self.changes.send_modify(|count| *count += 1);
        result
    }

    pub(super) fn proposals(&self) -> u64 {
        self.proposals.load(Ordering::Relaxed)
    }

    pub(super) async fn ask(self: &Arc<Self>, request: Request) -> Result<Response, ApiError> {
        self.ask_as(&ME, request).await
    }

    pub(super) async fn ask_as(
        self: &Arc<Self>,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        Answers::new(Arc::clone(self), registries())
            .call(caller, request)
            .await
    }
}

/// The flavors that there are, and a provisioner that takes anything.
pub(super) fn registries() -> Registries {
    let mut registries = Registries {
        provisioners: provisioners::Registry::empty(),
        flavors: flavors::Registry::builtin(),
    };
    registries.provisioners.add(provisioners::Kind {
        name: "process",
        about: "takes anything",
        configure: |_| Err(Vec::new()),
        validate: |_| Vec::new(),
    });
    registries
}

#[async_trait]
impl Desk for Office {
    fn snapshot<R>(&self, look: impl FnOnce(&Snapshot<'_>) -> R) -> R {
        self.scene().look(look)
    }

    fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    async fn propose(&self, actor: Option<Text>, command: Command) -> Result<Reply, ApiError> {
        self.proposals.fetch_add(1, Ordering::Relaxed);
        let unheard = self
            .unheard
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        if !self.leads() || unheard.is_ok() {
            return Err(ApiError::new(ErrorKind::NoLeader, "not any more"));
        }
        Ok(self.change(|scene| {
            let (at_ms, by, term) = (scene.fleet.now_ms, scene.fleet.leader, scene.fleet.term);
            let envelope = Envelope {
                at_ms,
                by,
                term,
                actor,
                command,
            };
            scene.fleet.state.apply_bytes(&envelope.encode())
        }))
    }

    async fn forward(&self, _: &Caller, request: &Request) -> Result<Response, ApiError> {
        self.forwarded.lock().unwrap().push(request.clone());
        Ok(Response::Done(Done {
            detail: "done elsewhere".into(),
        }))
    }

    fn ca(&self) -> Option<Arc<ClusterCa>> {
        self.ca.clone()
    }

    fn advertised(&self) -> Vec<SocketAddr> {
        vec![crate::fleet::testing::addr(1)]
    }

    async fn last_words(&self, _: MachineId) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    fn provisioner(&self, _: &str) -> Option<Arc<dyn provisioners::Provisioner>> {
        None
    }

    fn rtt(&self, _: MachineId) -> Option<Duration> {
        Some(Duration::from_micros(1500))
    }

    async fn recovery(&self) -> Result<Recovery, ApiError> {
        Err(ApiError::refused("nothing is lost here"))
    }

    async fn recover(&self, _: Text, order: RecoverOrder) -> Result<Recovery, ApiError> {
        self.recovered.lock().unwrap().push(order);
        self.recovery().await
    }

    async fn leave(&self) -> Result<(), ApiError> {
        self.left.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn log_filter(&self) -> String {
        self.filter.lock().unwrap().clone()
    }

    fn set_log_filter(&self, filter: &str) -> Result<String, String> {
        if filter == "loud" {
            return Err("no such level".into());
        }
        Ok(std::mem::replace(
            &mut *self.filter.lock().unwrap(),
            filter.to_owned(),
        ))
    }

    fn metrics(&self) -> String {
        "muster_up 1\n".into()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn local_events(&self, after: u64) -> Vec<LocalEvent> {
        let kept = self.local.lock().unwrap();
        kept.iter()
            .filter(|event| event.number > after)
            .cloned()
            .collect()
    }
}
