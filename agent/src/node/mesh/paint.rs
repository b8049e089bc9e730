//! From the cores' tables to the picture that others read.

use std::sync::Arc;
use std::time::Duration;

use muster_mesh::identity::MachineId;
use muster_mesh::membership::{self, How, Status};
use muster_mesh::records::{self, Record, Vitals};
use muster_mesh::transport;

use super::MeshTask;
use crate::fleet::{Leaving, MemberStatus, Text, Workload};
use crate::health::{Finding, Report, Subject};
use crate::node::world::{Said, Seen, World};

/// The role of a machine that has a coordinator's seat.
pub(crate) const COORDINATOR: &str = "coordinator";

/// The role of a machine that had a coordinator's seat when it could not read or write the seat's log any more.
pub(crate) const FAILED_COORDINATOR: &str = "failed coordinator";

/// The key of the agent's process ID in a profile: it changes with every start, so only the machine itself knows it.
pub(crate) const PID: &str = "pid";

/// The key of the local API's address in a profile.
pub(crate) const API_ADDRESS: &str = "api";

impl MeshTask {
    /// The whole picture, as of now.
    pub(super) fn paint(&self) -> World {
        let me = self.membership.me();
        let own = Seen {
            addr: me.addr,
            generation: self.membership.generation(),
            status: MemberStatus::Alive,
            since_ms: self.origin_ms,
            how: "",
            said: self.said.get(&me.machine).cloned(),
        };
        let others = self.membership.members().map(|member| {
            let seen = Seen {
                addr: member.addr,
                generation: member.generation,
                status: status(member.status),
                since_ms: self.wall_ms(member.silent_since.unwrap_or(member.since)),
                how: member.how.map_or("", how),
                said: self.said.get(&member.machine).cloned(),
            };
            (member.machine, seen)
        });
        let members = std::iter::once((me.machine, own)).chain(others).collect();
        World {
            me: me.machine,
            painted: (self.wall_ms(self.clock.now()), self.clock.now()),
            attentive_since: self.membership.attentive_since(),
            members,
        }
    }

    /// Reads again what a machine says of itself: its record has changed. Of a hundred machines few do at a time, and a
    /// picture is painted for each that does, so the others' words are not copied each time.
    pub(super) fn read(&mut self, machine: MachineId) {
        match self
            .records
            .get(machine)
            .and_then(|record| self.said_in(record))
        {
            Some(said) => self.said.insert(machine, Arc::new(said)),
            None => self.said.remove(&machine),
        };
    }

    /// Reads all records again: the wall clock was set, so that everything was said at another time.
    pub(super) fn read_all(&mut self) {
        let machines: Vec<MachineId> = self.said.keys().copied().collect();
        for machine in machines {
            self.read(machine);
        }
    }

    fn said_in(&self, record: &Record) -> Option<Said> {
        let profile = record.profile.as_ref()?;
        let report = Report::from(record.vitals.as_ref().unwrap_or(&Vitals::default()));
        let received_ms = self.wall_ms(record.profile_received_at.max(record.vitals_received_at));
        Some(Said {
            health: report.level(),
            readings: report.readings,
            reasons: report.reasons(),
            workload_unsteady: about(&report, Subject::UnsteadyWorkload).is_some(),
            part: report.part,
            workload: workload(&report, self.wall_ms(record.vitals_received_at)),
            leaving: profile.leaving.as_ref().map(leaving),
            version: profile.agent_version.clone(),
            name: profile.name.clone(),
            api: profile.addresses.get(API_ADDRESS).cloned(),
            pid: profile.addresses.get(PID).and_then(|pid| pid.parse().ok()),
            coordinates: profile.role == COORDINATOR,
            log_failed: profile.role == FAILED_COORDINATOR,
            labels: profile.labels.clone(),
            received_ms,
        })
    }

    fn wall_ms(&self, at: Duration) -> u64 {
        self.origin_ms
            .saturating_add(u64::try_from(at.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What the flavor's check says, when the report says anything of it.
fn workload(report: &Report, since_ms: u64) -> Option<Workload> {
    if about(report, Subject::Lease).is_some() {
        return Some(Workload::Unleased);
    }
    let finding = about(report, Subject::Workload)?;
    Some(Workload::Failed {
        since_ms,
        detail: Text::from(finding.to_string()),
    })
}

fn about(report: &Report, subject: Subject) -> Option<&Finding> {
    let mut findings = report.findings.iter();
    findings.find(|finding| finding.subject == subject)
}

fn leaving(leaving: &records::Leaving) -> Leaving {
    match leaving.until_ms {
        Some(until_ms) => Leaving::Rebooting { until_ms },
        None => Leaving::ForGood,
    }
}

fn status(status: Status) -> MemberStatus {
    match status {
        Status::Alive => MemberStatus::Alive,
        Status::Suspect => MemberStatus::Suspect,
        Status::Down => MemberStatus::Down,
        Status::Left => MemberStatus::Left,
    }
}

/// How a death became known, in a few words.
pub(super) fn how(how: How) -> &'static str {
    match how {
        How::Silent => "went silent",
        How::Refused => "nothing listens on its port",
        How::Told => "is down, others say",
    }
}

/// The transport's word for a probe's outcome in the membership's.
pub(super) fn port_answer(answer: transport::PortAnswer) -> membership::PortAnswer {
    match answer {
        transport::PortAnswer::Answered => membership::PortAnswer::Answered,
        transport::PortAnswer::Refused => membership::PortAnswer::Refused,
        transport::PortAnswer::Silent => membership::PortAnswer::Silent,
    }
}
