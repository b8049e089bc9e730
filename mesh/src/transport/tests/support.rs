//! Clusters and nodes for tests.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::clock::unix_ms;
use crate::identity::{ClusterId, MachineId, Peer};
use crate::pki::{ClusterCa, Credentials, LeafKey, OperatorCredentials, Revocations};
use crate::transport::{EndpointKeys, Inbound, InboundRequest, Transport, TransportConfig};

/// Long enough for any machine that runs tests; only ever waited for when something is broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn machine(number: u64) -> MachineId {
    MachineId::new(number).unwrap()
}

pub(super) struct Cluster {
    pub(super) ca: ClusterCa,
}

impl Cluster {
    pub(super) fn new(number: u64) -> Self {
        let cluster = ClusterId::new(number).unwrap();
        Self {
            ca: ClusterCa::create(cluster, unix_ms()).unwrap(),
        }
    }

    /// Credentials signed as of some time, which may be long ago.
    pub(super) fn credentials_of(&self, number: u64, signed_ms: u64) -> Credentials {
        let key = LeafKey::generate().unwrap();
        let leaf = self
            .ca
            .sign_machine(&key.request().unwrap(), machine(number), signed_ms)
            .unwrap();
        Credentials::assemble(&key, leaf, self.ca.certificate().to_vec(), signed_ms).unwrap()
    }

    pub(super) fn operator(&self, name: &str) -> OperatorCredentials {
        let key = LeafKey::generate().unwrap();
        let leaf = self
            .ca
            .sign_operator(&key.request().unwrap(), name, unix_ms(), PATIENCE * 100)
            .unwrap();
        OperatorCredentials::assemble(&key, leaf, self.ca.certificate().to_vec(), unix_ms())
            .unwrap()
    }

    pub(super) fn node(&self, number: u64) -> Node {
        self.node_with(self.credentials_of(number, unix_ms()), |_| {})
    }

    pub(super) fn node_with(
        &self,
        credentials: Credentials,
        adjust: impl FnOnce(&mut TransportConfig),
    ) -> Node {
        let mut config = config(EndpointKeys::generate());
        adjust(&mut config);
        Node::start(credentials, config)
    }
}

/// On loopback, on any port.
pub(super) fn config(keys: EndpointKeys) -> TransportConfig {
    TransportConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), keys)
}

/// A transport with the channels that an agent would hold.
pub(super) struct Node {
    pub(super) transport: Transport,
    pub(super) inbound: mpsc::Receiver<Inbound>,
    pub(super) credentials: watch::Sender<Arc<Credentials>>,
    pub(super) revoked: watch::Sender<Arc<Revocations>>,
    pub(super) machine: MachineId,
}

impl Node {
    pub(super) fn start(credentials: Credentials, config: TransportConfig) -> Self {
        let machine = credentials.machine();
        let (credentials, credentials_rx) = watch::channel(Arc::new(credentials));
        let (revoked, revoked_rx) = watch::channel(Arc::new(Revocations::default()));
        let (inbound_tx, inbound) = mpsc::channel(64);
        let transport = Transport::bind(config, credentials_rx, revoked_rx, inbound_tx).unwrap();
        Self {
            transport,
            inbound,
            credentials,
            revoked,
            machine,
        }
    }

    pub(super) fn peer(&self) -> Peer {
        Peer {
            machine: self.machine,
            addr: self.transport.local_addr(),
        }
    }

    pub(super) fn send(&self, to: &Self, text: &'static str) {
        self.transport
            .send(to.peer(), Bytes::from_static(text.as_bytes()));
    }

    pub(super) fn revoke(&self, number: u64) {
        self.revoked.send_modify(|revoked| {
            Arc::make_mut(revoked).machines.insert(machine(number));
        });
    }

    pub(super) async fn next(&mut self) -> Inbound {
        within(self.inbound.recv()).await.expect("transport lives")
    }

    pub(super) async fn next_datagram(&mut self) -> (Peer, Bytes) {
        loop {
            if let Inbound::Datagram { from, bytes } = self.next().await {
                return (from, bytes);
            }
        }
    }

    pub(super) async fn next_request(&mut self) -> InboundRequest {
        loop {
            if let Inbound::Request(request) = self.next().await {
                return request;
            }
        }
    }

    pub(super) async fn next_lost(&mut self) -> (Peer, crate::transport::Lost) {
        loop {
            if let Inbound::PeerLost { peer, how } = self.next().await {
                return (peer, how);
            }
        }
    }

    /// Answers every request with its body, for ever.
    pub(super) fn echo(self) -> Echo {
        let Self {
            transport,
            mut inbound,
            credentials,
            revoked,
            machine,
        } = self;
        let peer = Peer {
            machine,
            addr: transport.local_addr(),
        };
        let task = tokio::spawn(async move {
            while let Some(item) = inbound.recv().await {
                if let Inbound::Request(request) = item {
                    let _ = request.responder.reply(request.body).await;
                }
            }
        });
        Echo {
            transport,
            peer,
            _credentials: credentials,
            _revoked: revoked,
            task,
        }
    }
}

/// A node in a runtime of its own, which can be killed as a process is: nobody is told anything.
pub(super) struct Mortal {
    pub(super) node: Node,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Mortal {
    pub(super) fn start(credentials: Credentials, config: TransportConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let node = {
            let _context = runtime.enter();
            Node::start(credentials, config)
        };
        Self {
            node,
            runtime: Some(runtime),
        }
    }

    /// Stops it from doing anything, as a machine without memory or CPU does; until what is returned is dropped.
    pub(super) async fn freeze(&self) -> std::sync::mpsc::SyncSender<()> {
        let (thaw, until) = std::sync::mpsc::sync_channel::<()>(0);
        let (frozen, is_frozen) = tokio::sync::oneshot::channel();
        self.runtime.as_ref().unwrap().spawn(async move {
            let _ = frozen.send(());
            let _ = until.recv();
        });
        within(is_frozen).await.unwrap();
        thaw
    }

    /// Returns when its port is free.
    pub(super) async fn kill(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE))
            .await
            .unwrap();
        let addr = self.node.transport.local_addr();
        drop(self);
        eventually(|| std::net::UdpSocket::bind(addr).is_ok()).await;
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(super) struct Echo {
    pub(super) transport: Transport,
    pub(super) peer: Peer,
    _credentials: watch::Sender<Arc<Credentials>>,
    _revoked: watch::Sender<Arc<Revocations>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Fails the test rather than hanging it.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

/// Waits until a condition holds.
pub(super) async fn eventually(mut condition: impl FnMut() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
