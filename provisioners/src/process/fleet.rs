//! The fleet of a root as a whole: stopping it, bringing it back, clearing it away.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tracing::{info, warn};

use super::census::Census;
use super::create::{clear, exists};
use super::destroy;
use super::files::{Lasting, Lock, failure, remove, write};
use super::identity::Host;
use super::layout::Root;
use super::record::ProcessRecord;
use super::root;
use super::terminate::{kill_all, terminate};
use super::{Inner, ProcessProvisioner, blocking};
use crate::{Deadline, InstanceId, ProvisionError};

/// How many machines are stopped at once: all of an ordinary fleet, since stopping is mostly waiting.
const STOPS_AT_ONCE: usize = 64;
/// How many machines are started at once: starting is mostly work.
const STARTS_AT_ONCE: usize = 8;

/// What became of bringing one machine back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// The machine.
    pub id: InstanceId,
    /// Whether it was started, or ran already.
    pub result: Result<(), ProvisionError>,
}

impl ProcessProvisioner {
    /// Stops all machines of the root, and keeps any from being made or started until [`resume`](Self::resume), by
    /// whichever process. Those that were meant to run are brought back then.
    ///
    /// # Errors
    /// The first failure; the others are stopped all the same. Safe to repeat.
    pub async fn shut_down(&self, deadline: Deadline) -> Result<(), ProvisionError> {
        let ids = self
            .work("stopping the fleet", deadline, move |inner| {
                close(inner, deadline)
            })
            .await?;
        let results: Vec<_> = stream::iter(ids)
            .map(|id| {
                let suspend = move |inner: &Inner| destroy::suspend(inner, &id, deadline);
                self.work("stopping a machine", deadline, suspend)
            })
            .buffer_unordered(STOPS_AT_ONCE)
            .collect()
            .await;
        // Machines whose directories were deleted are on no list.
        let ended = self.work("ending what is on no list", deadline, move |inner| {
            end_strays(&inner.host, &inner.root, deadline)
        });
        let ended = ended.await;
        results.into_iter().collect::<Result<(), _>>().and(ended)
    }

    /// Allows machines to be made and started again, and starts those that were not stopped one by one
    /// (by [`Provisioner::stop`](crate::Provisioner::stop)) and don't run. After a crash it is the same.
    ///
    /// # Errors
    /// If the machines can't be listed; what became of each is in the list.
    pub async fn resume(&self, deadline: Deadline) -> Result<Vec<Resumed>, ProvisionError> {
        let ids = self.work("starting the fleet", deadline, reopen).await?;
        let start = |id: InstanceId| async move {
            let this = id.clone();
            let order = move |inner: &Inner| destroy::order_start(inner, &this, deadline);
            let ordered = self.work("ordering its start", deadline, order).await;
            let result = match ordered {
                Ok(()) => self.carry_out_start(&id, deadline).await,
                Err(error) => Err(error),
            };
            Resumed { id, result }
        };
        Ok(stream::iter(ids)
            .map(start)
            .buffered(STARTS_AT_ONCE)
            .collect()
            .await)
    }

    /// Whether the fleet has been shut down, or is being.
    ///
    /// # Errors
    /// If the root can't be read.
    pub fn is_shut_down(&self) -> Result<bool, ProvisionError> {
        exists(&self.0.root.stopping())
    }
}

/// From here on nothing is made or started: those that make instances hold the root's lock while they look for this
/// mark, and those that start them hold the instance's.
fn close(inner: &Inner, deadline: Deadline) -> Result<Vec<InstanceId>, ProvisionError> {
    write(&inner.root.stopping(), b"", Lasting::Durably)?;
    let _lock = inner.root_lock(deadline)?;
    inner.root.ids()
}

/// The machines that are meant to run.
fn reopen(inner: &Inner) -> Result<Vec<InstanceId>, ProvisionError> {
    remove(&inner.root.stopping())?;
    let mut ids = inner.root.ids()?;
    let mut failed = None;
    ids.retain(|id| {
        let place = inner.root.instance(id);
        match (exists(&place.stopped()), exists(&place.doomed())) {
            (Ok(stopped), Ok(doomed)) => !stopped && !doomed,
            (Err(error), _) | (_, Err(error)) => {
                failed = Some(error);
                false
            }
        }
    });
    failed.map_or(Ok(ids), Err)
}

/// Ends every process of the machines under `root`, also of such as have lost their directory, and removes the
/// root with everything in it, disks included. A root that isn't there is fine.
///
/// # Errors
/// [`ProvisionError::Failed`] if the directory is no root of this provisioner: nothing was touched.
pub async fn clean(path: &Path, deadline: Deadline) -> Result<(), ProvisionError> {
    let path = path.to_owned();
    blocking("clearing away the fleet", deadline, move || {
        clean_now(&path, deadline)
    })
    .await
}

fn clean_now(path: &Path, deadline: Deadline) -> Result<(), ProvisionError> {
    if !exists(path)? {
        return Ok(());
    }
    let path = path
        .canonicalize()
        .map_err(|error| failure("resolving", path, &error))?;
    let root = Root::new(path);
    if !exists(&root.record())? {
        let text = format!("{} holds no machines of muster's", root.path().display());
        return Err(ProvisionError::failed(text));
    }
    write(&root.stopping(), b"", Lasting::Durably)?;
    let _lock = root::lock(&root, deadline)?;
    let host = Host::current().map_err(seen)?;
    for id in root.ids()? {
        let place = root.instance(&id);
        let Some(_lock) = Lock::acquire(&place.lock(), deadline)? else {
            continue;
        };
        // A damaged record leaves its marks to tell its processes.
        let agent = ProcessRecord::read(&place).ok().flatten();
        let doubtful = terminate(
            &host,
            place.path(),
            agent.as_ref(),
            Duration::ZERO,
            deadline,
        )?;
        if !doubtful.is_empty() {
            warn!(%id, ?doubtful, "leaving processes alone that may belong to it");
        }
    }
    end_strays(&host, &root, deadline)?;
    clear(root.path())
}

/// Ends every process that carries the mark of a machine below the root, whatever became of the machine's directory.
fn end_strays(host: &Host, root: &Root, deadline: Deadline) -> Result<(), ProvisionError> {
    loop {
        let marked = Census::take()
            .map_err(seen)?
            .marked_below(host, root.path());
        // Our own mark, if we run in a machine of this very root, is no reason to end ourselves half-way.
        let others: Vec<_> = marked
            .into_iter()
            .filter(|process| process.pid != std::process::id())
            .collect();
        if others.is_empty() {
            break;
        }
        info!(processes = others.len(), "ending what is left of the fleet");
        if !kill_all(host, &others, deadline).map_err(seen)? || deadline.has_passed() {
            return Err(ProvisionError::timeout("ending what is left of the fleet"));
        }
    }
    Ok(())
}

fn seen(error: std::io::Error) -> ProvisionError {
    ProvisionError::failed(format!("looking at processes: {error}"))
}
