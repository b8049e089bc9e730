//! Making an instance's directory, once for each operation.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::Path;

use tracing::warn;

use super::addresses::allocate;
use super::files::{Lasting, Lock, failure, make_directory, sync_directory_of, write, write_json};
use super::layout::Place;
use super::properties::{ProcessProperties, check_disk};
use super::record::{ProcessRecord, Record, StartOrder, VERSION};
use super::root::RootRecord;
use super::{Inner, NAME};
use crate::clock::now_ms;
use crate::{
    AgentPlace, Deadline, InstanceId, MachineSpec, OperationId, Problem, Properties,
    ProvisionError, agent_config,
};

/// Before the digits of the operation's ID. Short, because sockets' paths are.
pub(super) const ID_PREFIX: &str = "p-";
/// 60 bits of the operation's ID tell a fleet's instances apart; that they do is checked.
pub(super) const ID_DIGITS: usize = 12;
/// What the names of directories that are not finished begin with.
pub(super) const UNFINISHED: &str = ".";

/// What is left to be done after [`create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It has to be started.
    Start,
    /// It was started (or destroyed) before; nothing.
    Nothing,
}

/// The instance that an operation makes. A function of the operation alone: that is what makes it idempotent.
pub(super) fn id_for(op: &OperationId) -> InstanceId {
    format!("{ID_PREFIX}{}", op.short(ID_DIGITS))
        .parse()
        .expect("the digits of an operation ID are printable")
}

/// Whether an ID is of the form that we give, so that it can be the name of a directory.
pub(super) fn is_ours(id: &InstanceId) -> bool {
    id.as_str().strip_prefix(ID_PREFIX).is_some_and(|digits| {
        digits.len() == ID_DIGITS && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Makes the instance of `op` ready to be started, unless it has been started before.
pub(super) fn create(
    inner: &Inner,
    spec: &MachineSpec,
    op: &OperationId,
    deadline: Deadline,
) -> Result<(InstanceId, Next), ProvisionError> {
    let properties = check(spec)?;
    let id = id_for(op);
    let place = inner.root.instance(&id);
    let root_lock = inner.root_lock(deadline)?;
    inner.refuse_if_stopping()?;
    if !exists(place.path())? {
        // In this order: a destroyed instance moves from here to there.
        if exists(inner.root.grave(&id).path())? {
            return Ok((id, Next::Nothing));
        }
        make(inner, spec, &properties, op, &id)?;
        return Ok((id, Next::Start));
    }
    drop(root_lock);
    let next = take_up(inner, spec, &properties, op, &place, deadline)?;
    Ok((id, next))
}

/// Everything that is wrong with a spec for this provisioner.
pub(super) fn check(spec: &MachineSpec) -> Result<ProcessProperties, ProvisionError> {
    let mut problems: Vec<Problem> = spec
        .attachments
        .iter()
        .filter_map(|disk| check_disk(&disk.id))
        .collect();
    if spec.init.len() > MachineSpec::INIT_MAX_BYTES {
        let reason = format!("{} bytes are too long", spec.init.len());
        problems.push(Problem::new(
            "init",
            reason,
            "fetch the rest from elsewhere",
        ));
    }
    match ProcessProperties::read(&spec.properties) {
        Ok(properties) if problems.is_empty() => Ok(properties),
        Ok(_) => Err(ProvisionError::Invalid(problems)),
        Err(more) => Err(ProvisionError::Invalid([problems, more].concat())),
    }
}

/// Makes the directory under another name first, so that it is there whole or not at all. The root is locked.
fn make(
    inner: &Inner,
    spec: &MachineSpec,
    properties: &ProcessProperties,
    op: &OperationId,
    id: &InstanceId,
) -> Result<(), ProvisionError> {
    let address = choose_address(inner)?;
    let record = Record {
        version: VERSION,
        id: id.clone(),
        operation: op.clone(),
        reimaged: None,
        spec: spec.clone(),
        tags: spec.tags_for(op),
        address,
        created_at_ms: now_ms(),
    };
    let place = inner.root.instance(id);
    let unfinished = Place::new(inner.root.instances().join(format!("{UNFINISHED}new-{id}")));
    clear(unfinished.path())?;
    make_directory(&unfinished.state())?;
    attach(inner, &record, &unfinished)?;
    write_json(&unfinished.record(), &record, Lasting::Whole)?;
    let config = config_of(inner, &record, spec, properties);
    write(&unfinished.config(), config.as_bytes(), Lasting::Whole)?;
    inner.order_start(&unfinished)?;
    // All that is in it, and then it itself.
    sync_directory_of(&unfinished.record())
        .and_then(|()| fs::rename(unfinished.path(), place.path()))
        .and_then(|()| sync_directory_of(place.path()))
        .map_err(|error| failure("making", place.path(), &error))
}

/// An address that no instance has. The root is locked.
fn choose_address(inner: &Inner) -> Result<SocketAddr, ProvisionError> {
    let root = RootRecord::read(&inner.root)?;
    let skip = inner.root.next_address();
    let used = used_addresses(inner)?;
    let found = allocate(root.network, root.port, skip, &used)
        .map_err(|error| ProvisionError::failed(format!("looking for an address: {error}")))?;
    let Some((address, next)) = found else {
        return Err(ProvisionError::capacity(format!(
            "all {} addresses of {} are taken, or port {} is in use on all of them",
            root.network.capacity(),
            root.network,
            root.port,
        )));
    };
    inner.root.set_next_address(next)?;
    Ok(address)
}

/// Completes an instance that an earlier call with the same operation made: if it never came as far as being
/// started, it gets the newest join configuration.
fn take_up(
    inner: &Inner,
    spec: &MachineSpec,
    properties: &ProcessProperties,
    op: &OperationId,
    place: &Place,
    deadline: Deadline,
) -> Result<Next, ProvisionError> {
    let Some(_lock) = Lock::acquire(&place.lock(), deadline)? else {
        return void(inner, &id_for(op)).map(|()| Next::Nothing);
    };
    let record = Record::read(place)?.ok_or_else(|| {
        ProvisionError::failed(format!("{} is missing", place.record().display()))
    })?;
    if record.operation != *op {
        let text = format!(
            "{} belongs to {}, not to {op}",
            place.path().display(),
            record.operation
        );
        return Err(ProvisionError::failed(text));
    }
    let started = ProcessRecord::read(place)?.is_some();
    if started || exists(&place.doomed())? || exists(&place.stopped())? {
        return Ok(Next::Nothing);
    }
    let config = config_of(inner, &record, spec, properties);
    write(&place.config(), config.as_bytes(), Lasting::Whole)?;
    inner.order_start(place)?;
    Ok(Next::Start)
}

/// What it means for the operation that there is nothing (more) to be started: it was done before, or others who tried
/// have failed and taken it back.
pub(super) fn void(inner: &Inner, id: &InstanceId) -> Result<(), ProvisionError> {
    let place = inner.root.instance(id);
    for done in [
        place.process(),
        place.doomed(),
        place.stopped(),
        inner.root.grave(id).record(),
    ] {
        if exists(&done)? {
            return Ok(());
        }
    }
    Err(ProvisionError::unavailable(format!(
        "another call tried to start {id} and failed"
    )))
}

/// Takes back an instance that could not be started, so that an error means that nothing was done.
pub(super) fn abandon(inner: &Inner, id: &InstanceId, deadline: Deadline) {
    let attempt = || -> Result<(), ProvisionError> {
        let place = inner.root.instance(id);
        let Some(_lock) = Lock::acquire(&place.lock(), deadline)? else {
            return Ok(());
        };
        if ProcessRecord::read(&place)?.is_some() {
            return Ok(());
        }
        let gone = inner
            .root
            .instances()
            .join(format!("{UNFINISHED}gone-{id}"));
        clear(&gone)?;
        fs::rename(place.path(), &gone).map_err(|error| failure("moving", place.path(), &error))?;
        clear(&gone)
    };
    if let Err(error) = attempt() {
        // It is listed as stopped until somebody destroys it.
        warn!(%id, %error, "can't take back an instance that didn't start");
    }
}

pub(super) fn config_of(
    inner: &Inner,
    record: &Record,
    spec: &MachineSpec,
    properties: &ProcessProperties,
) -> String {
    let place = inner.root.instance(&record.id);
    let mut spec = spec.clone();
    if let Some(zone) = &properties.zone {
        spec.labels
            .entry("zone".to_owned())
            .or_insert_with(|| zone.clone());
    }
    let mut settings = Properties::new();
    settings.set("root", inner.root.path().display().to_string());
    let place = AgentPlace {
        data_dir: Some(&place.state()),
        bind: Some(record.address),
        api_socket: Some(&place.socket()),
        instance: Some((NAME, &record.id, &record.operation)),
        settings: Some((NAME, &settings)),
    };
    agent_config(&spec, &place)
}

/// Makes the disks that don't exist yet, and a link to each in the instance's directory.
pub(super) fn attach(inner: &Inner, record: &Record, place: &Place) -> Result<(), ProvisionError> {
    let links = place.path().join("disks");
    for id in record.disks() {
        let disk = inner.root.disk(id);
        make_directory(&disk)?;
        make_directory(&links)?;
        symlink(&disk, links.join(id)).map_err(|error| failure("linking", &disk, &error))?;
    }
    Ok(())
}

fn used_addresses(inner: &Inner) -> Result<BTreeSet<IpAddr>, ProvisionError> {
    // A damaged record doesn't stop others from being made; that nobody listens there is checked as well.
    Ok(inner
        .root
        .records()?
        .into_values()
        .filter_map(Result::ok)
        .map(|record| record.ip())
        .collect())
}

impl Inner {
    /// Orders an instance to be started now.
    pub(super) fn order_start(&self, place: &Place) -> Result<(), ProvisionError> {
        let order = StartOrder {
            executable: self.config.executable()?,
            inherit: self.config.inherit.clone(),
            at_ms: now_ms(),
        };
        write_json(&place.starting(), &order, Lasting::Loosely)
    }
}

/// Whether there is something of that name.
pub(super) fn exists(path: &Path) -> Result<bool, ProvisionError> {
    path.try_exists()
        .map_err(|error| failure("looking for", path, &error))
}

/// Removes a directory and all in it; that it isn't there is fine.
pub(super) fn clear(path: &Path) -> Result<(), ProvisionError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failure("removing", path, &error)),
    }
}
