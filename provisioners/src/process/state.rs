//! What there is to say of an instance: its state, and whether it is proven off.

use std::io;

use serde_json::json;
use tracing::{info, warn};

use super::Inner;
use super::census::{Census, Members};
use super::create::{exists, is_ours};
use super::files::Lock;
use super::identity::{Host, Liveness, ProcessIdentity};
use super::layout::Place;
use super::log;
use super::properties::ProcessProperties;
use super::record::{ProcessRecord, Record, StartOrder};
use crate::clock::now_ms;
use crate::{
    Deadline, Instance, InstanceId, InstanceState, Proof, Properties, ProvisionError, Tags, tag,
};

/// What is said of a machine that the provisioner plays not to reach.
const OUT_OF_REACH: &str = "its properties say that it is out of reach";

/// Whether nothing is to be known of an instance, nor done to it.
fn is_out_of_reach(record: &Record) -> bool {
    let read = ProcessProperties::read(&record.spec.properties);
    read.is_ok_and(|properties| properties.out_of_reach)
}

/// Fails if an instance is one that can't be stopped, restarted or destroyed.
pub(super) fn reach(inner: &Inner, id: &InstanceId) -> Result<(), ProvisionError> {
    // Of one whose record is damaged nothing of the kind is known.
    let record = is_ours(id).then(|| Record::read(&inner.root.instance(id)));
    match record {
        Some(Ok(Some(record))) if is_out_of_reach(&record) => {
            Err(ProvisionError::unavailable(OUT_OF_REACH))
        }
        _ => Ok(()),
    }
}

/// What can be seen of an instance's processes.
enum Sight {
    /// It was never started.
    Never,
    /// Its agent lives.
    Agent(ProcessIdentity),
    /// Its agent is dead, and why that is certain; what is left of it.
    Rest(&'static str, Members),
    /// It can't be seen from here, and why.
    Hidden(String),
}

/// Looks at instances, taking the census of all processes once and only if an agent is dead.
struct Viewer<'a> {
    host: &'a Host,
    census: Option<Census>,
}

impl Viewer<'_> {
    fn look(&mut self, place: &Place) -> Result<Sight, ProvisionError> {
        let agent = match ProcessRecord::read(place) {
            Ok(agent) => agent,
            // Damaged, and so no statement about the process.
            Err(error) => return Ok(Sight::Hidden(error.to_string())),
        };
        let Some(agent) = agent else {
            return Ok(Sight::Never);
        };
        match self.host.liveness(&agent).map_err(seen)? {
            Liveness::Alive => Ok(Sight::Agent(agent)),
            Liveness::Unknown(why) => Ok(Sight::Hidden(why.to_owned())),
            Liveness::Dead(why) => Ok(Sight::Rest(why, self.members(place, Some(&agent))?)),
        }
    }

    fn members(
        &mut self,
        place: &Place,
        agent: Option<&ProcessIdentity>,
    ) -> Result<Members, ProvisionError> {
        let census = match &mut self.census {
            Some(census) => census,
            none => none.insert(Census::take().map_err(seen)?),
        };
        census.members(self.host, place.path(), agent).map_err(seen)
    }
}

fn seen(error: io::Error) -> ProvisionError {
    ProvisionError::failed(format!("looking at processes: {error}"))
}

/// All instances whose tags match, in order.
pub(super) fn describe(inner: &Inner, filter: &Tags) -> Result<Vec<Instance>, ProvisionError> {
    let mut viewer = Viewer {
        host: &inner.host,
        census: None,
    };
    let mut instances = Vec::new();
    for (id, record) in inner.root.records()? {
        match record {
            Ok(record) if record.tags.matches(filter) => {
                let place = inner.root.instance(&id);
                instances.extend(instance(&mut viewer, &place, record)?);
            }
            Ok(_) => {}
            // Its tags are unknown, so nobody can say whether it matches. Left out it would be taken for destroyed; but whoever
            // looks for what an operation made must not get another one.
            Err(error) => {
                warn!(%id, %error, "can't read the record of an instance");
                if filter.get(tag::OPERATION).is_none() {
                    instances.extend(unreadable(&mut viewer, inner, id, &error)?);
                }
            }
        }
    }
    Ok(instances)
}

/// `None` if it was destroyed a moment ago.
fn instance(
    viewer: &mut Viewer<'_>,
    place: &Place,
    record: Record,
) -> Result<Option<Instance>, ProvisionError> {
    let sight = viewer.look(place)?;
    let dead = if exists(&place.doomed())? {
        InstanceState::Stopping
    } else if StartOrder::read(place).is_some() {
        InstanceState::Starting
    } else {
        InstanceState::Stopped
    };
    let mut properties = Properties::new();
    properties
        .set("name", record.spec.name.as_str())
        .set("dir", place.path().display().to_string())
        .set("socket", place.socket().display().to_string())
        .set("log", place.log().display().to_string())
        .set("port", record.address.port());
    let state = match &sight {
        Sight::Agent(agent) => {
            properties.set("pid", agent.pid);
            keep_log_short(place, &record.id);
            if dead == InstanceState::Stopping {
                dead
            } else {
                InstanceState::Running
            }
        }
        Sight::Never => dead,
        Sight::Rest(_, members) if members.certain.is_empty() => dead,
        // As with a machine whose agent died: it runs, although nobody answers.
        Sight::Rest(_, members) => {
            let left: Vec<_> = members.certain.iter().map(|process| process.pid).collect();
            properties.set("left_over", json!(left));
            InstanceState::Running
        }
        Sight::Hidden(why) => {
            properties.set("why", why.as_str());
            InstanceState::Unknown
        }
    };
    let state = match is_out_of_reach(&record) {
        true => InstanceState::Running,
        false => state,
    };
    // It may have moved to the graveyard while we looked, and then what we saw is worth nothing.
    if !exists(place.path())? {
        return Ok(None);
    }
    Ok(Some(Instance {
        id: record.id,
        state,
        tags: record.tags,
        address: Some(record.address.ip()),
        properties,
        created_at_ms: record.created_at_ms,
        attachments: record.spec.attachments,
    }))
}

/// What there is to say of an instance whose record can't be read; `None` if it was destroyed a moment ago.
fn unreadable(
    viewer: &mut Viewer<'_>,
    inner: &Inner,
    id: InstanceId,
    error: &ProvisionError,
) -> Result<Option<Instance>, ProvisionError> {
    let place = inner.root.instance(&id);
    let mut properties = Properties::new();
    properties
        .set("dir", place.path().display().to_string())
        .set("why", error.to_string());
    let state = match viewer.look(&place)? {
        Sight::Agent(agent) => {
            properties.set("pid", agent.pid);
            InstanceState::Running
        }
        Sight::Never | Sight::Rest(..) | Sight::Hidden(_) => InstanceState::Unknown,
    };
    if !exists(place.path())? {
        return Ok(None);
    }
    Ok(Some(Instance {
        id,
        state,
        tags: Tags::new(),
        address: None,
        properties,
        created_at_ms: 0,
        attachments: Vec::new(),
    }))
}

fn keep_log_short(place: &Place, id: &InstanceId) {
    match log::cut(place) {
        Ok(false) => {}
        Ok(true) => info!(%id, "cut a long log"),
        Err(error) => warn!(%id, %error, "can't cut a long log"),
    }
}

/// Whether an instance is certain not to run, and not to start unless someone orders it anew.
pub(super) fn prove_off(
    inner: &Inner,
    id: &InstanceId,
    deadline: Deadline,
) -> Result<Proof, ProvisionError> {
    if !is_ours(id) {
        return Ok(Proof::Unknown {
            why: "it is none of this provisioner's instances".to_owned(),
        });
    }
    let place = inner.root.instance(id);
    let mut viewer = Viewer {
        host: &inner.host,
        census: None,
    };
    // With the lock no launcher is at work, and one that comes later needs an order that still holds.
    let locked = match Lock::acquire(&place.lock(), deadline) {
        Ok(locked) => locked,
        Err(ProvisionError::Unavailable(_)) => {
            return Ok(Proof::Unknown {
                why: "another operation on it is under way".to_owned(),
            });
        }
        Err(error) => return Err(error),
    };
    if locked.is_none() {
        let how = "it was destroyed, or never was, and there is no process of it";
        return Ok(judge(&viewer.members(&place, None)?, how));
    }
    if let Ok(Some(record)) = Record::read(&place)
        && is_out_of_reach(&record)
    {
        return Ok(Proof::Unknown {
            why: OUT_OF_REACH.to_owned(),
        });
    }
    if StartOrder::read(&place).is_some() && !exists(&place.stopped())? {
        return Ok(Proof::Unknown {
            why: "it is being started".to_owned(),
        });
    }
    Ok(match viewer.look(&place)? {
        Sight::Never => judge(&viewer.members(&place, None)?, "it was never started"),
        Sight::Agent(_) => Proof::Running,
        Sight::Rest(how, members) => judge(&members, how),
        Sight::Hidden(why) => Proof::Unknown { why },
    })
}

fn judge(members: &Members, how: &str) -> Proof {
    if !members.certain.is_empty() {
        Proof::Running
    } else if members.doubtful.is_empty() {
        Proof::Off {
            how: how.to_owned(),
            at_ms: now_ms(),
        }
    } else {
        let pids: Vec<_> = members.doubtful.iter().map(|process| process.pid).collect();
        Proof::Unknown {
            why: format!("its agent is dead, but processes {pids:?} may belong to it"),
        }
    }
}
