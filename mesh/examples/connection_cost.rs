//! What a connection costs: memory while idle, a handshake, a probe with its answer, also where packets get lost.
//!
//! `cargo run --release -p muster-mesh --example connection_cost -- [CONNECTIONS [PROBES]]`
//!
//! One hub is connected to by many endpoints of the same process, so half of what the process grows by is the hub's.
//! For the cost under loss, run it in a network namespace whose loopback drops packets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use muster_mesh::clock::unix_ms;
use muster_mesh::identity::{ClusterId, MachineId, Peer};
use muster_mesh::pki::{ClusterCa, Credentials, LeafKey, Revocations};
use muster_mesh::transport::{EndpointKeys, Inbound, Transport, TransportConfig, TransportStats};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

type Failure = Box<dyn std::error::Error>;

/// How long to wait for a datagram before taking it for lost.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long to watch idle connections: longer than two rounds of the transport's upkeep.
const IDLE: Duration = Duration::from_secs(40);

struct Node {
    transport: Transport,
    inbound: mpsc::Receiver<Inbound>,
    peer: Peer,
    _credentials: watch::Sender<Arc<Credentials>>,
    _revoked: watch::Sender<Arc<Revocations>>,
}

impl Node {
    fn start(ca: &ClusterCa, number: u64) -> Result<Self, Failure> {
        let machine = MachineId::new(number).ok_or("zero")?;
        let key = LeafKey::generate()?;
        let leaf = ca.sign_machine(&key.request()?, machine, unix_ms())?;
        let credentials = Credentials::assemble(&key, leaf, ca.certificate().to_vec(), unix_ms())?;
        let (credentials, watched) = watch::channel(Arc::new(credentials));
        let (revoked, revocations) = watch::channel(Arc::default());
        let (sender, inbound) = mpsc::channel(256);
        let mut config = TransportConfig::new("127.0.0.1:0".parse()?, EndpointKeys::generate());
        config.connections_max = 100_000;
        let transport = Transport::bind(config, watched, revocations, sender)?;
        let addr = transport.local_addr();
        Ok(Self {
            transport,
            inbound,
            peer: Peer { machine, addr },
            _credentials: credentials,
            _revoked: revoked,
        })
    }

    /// Whether a datagram arrived in time.
    async fn receives(&mut self) -> bool {
        let next = async {
            while let Some(item) = self.inbound.recv().await {
                if matches!(item, Inbound::Datagram { .. }) {
                    return true;
                }
            }
            false
        };
        timeout(PATIENCE, next).await.unwrap_or(false)
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.split_whitespace().next())
        .ok_or("no VmRSS")?;
    Ok(line.parse::<u64>()? * 1024)
}

/// CPU time of this process, in milliseconds; the kernel counts in hundredths of a second.
fn cpu_ms() -> Result<u64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| -> Result<u64, Failure> { Ok(fields[at].parse()?) };
    Ok((ticks(11)? + ticks(12)?) * 10)
}

fn report(what: &str, before: TransportStats, after: TransportStats, times: u64) {
    let each = |after: u64, before: u64| (after - before) as f64 / times as f64;
    println!(
        "{what:<24}{:.2} packets, {:.0} bytes out; {:.2} packets, {:.0} bytes in",
        each(after.packets_out, before.packets_out),
        each(after.bytes_out, before.bytes_out),
        each(after.packets_in, before.packets_in),
        each(after.bytes_in, before.bytes_in),
    );
}

async fn connect(hub: &mut Node, spoke: &mut Node) {
    while !hub.receives().await {
        spoke.transport.send(hub.peer, Bytes::from_static(b"hello"));
    }
}

/// Probes and answers of SWIM's size, one after the other; gives how many were answered.
async fn probe(hub: &mut Node, spoke: &mut Node, probes: u64) -> u64 {
    let mut answered = 0;
    for _ in 0..probes {
        spoke.transport.send(hub.peer, Bytes::from_static(&[7; 60]));
        if hub.receives().await {
            hub.transport.send(spoke.peer, Bytes::from_static(&[7; 40]));
            answered += u64::from(spoke.receives().await);
        }
        sleep(Duration::from_millis(100)).await;
    }
    answered
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| {
        let argument = arguments.next();
        argument.map_or(Ok(default), |text| text.parse())
    };
    let (count, probes) = (number(200)?, number(50)?);
    let ca = ClusterCa::create(ClusterId::new(1).ok_or("zero")?, unix_ms())?;
    let mut hub = Node::start(&ca, 1)?;
    // What is allocated once is not any connection's cost.
    let mut first = Node::start(&ca, 2)?;
    first.transport.send(hub.peer, Bytes::from_static(b"hello"));
    connect(&mut hub, &mut first).await;

    let bare = resident()?;
    let mut spokes = Vec::new();
    for number in 0..count {
        spokes.push(Node::start(&ca, number + 10)?);
    }
    let with_endpoints = resident()?;
    let (began, cpu_before) = (Instant::now(), cpu_ms()?);
    for spoke in &mut spokes {
        spoke.transport.send(hub.peer, Bytes::from_static(b"hello"));
        connect(&mut hub, spoke).await;
    }
    let (took, cpu) = (began.elapsed(), cpu_ms()? - cpu_before);
    sleep(Duration::from_secs(2)).await;
    let sides = (2 * count) as f64;
    let grown = resident()?.saturating_sub(with_endpoints) as f64 / sides;
    let endpoint = with_endpoints.saturating_sub(bare) as f64 / count as f64;
    println!("{:<24}{:.1} kB", "endpoint", endpoint / 1000.0);
    println!("{:<24}{:.1} kB a side", "idle connection", grown / 1000.0);
    println!(
        "{:<24}{:.2} ms of CPU a side, {:.2} ms from first packet to first datagram",
        "handshake",
        cpu as f64 / sides,
        took.as_secs_f64() * 1000.0 / count as f64
    );
    let spoke = spokes.first_mut().ok_or("no connections")?;
    let connected = spoke.transport.stats();
    report("handshake", TransportStats::default(), connected, 1);

    sleep(IDLE).await;
    let idle = spoke.transport.stats();
    report("idle for 40 s", connected, idle, 1);

    let answered = probe(&mut hub, spoke, probes).await;
    sleep(Duration::from_secs(1)).await;
    report("probe with answer", idle, spoke.transport.stats(), probes);
    println!("{:<24}{answered} of {probes}", "answered");
    Ok(())
}
