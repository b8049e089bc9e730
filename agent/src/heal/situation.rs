//! What a leader knows besides the fleet state when it decides: everything that was seen, and by when.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use muster_mesh::identity::MachineId;
use serde::{Deserialize, Serialize};

use crate::fleet::{
    InstanceId, Leaving, MemberEvidence, OperationId, Properties, ProviderEvidence, RecordEvidence,
    WitnessEvidence, Workload,
};

/// What a leader knows besides the fleet state.
///
/// Plain data, so that a recorded situation can be decided again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Situation {
    /// The leader's clock, in milliseconds since 1970.
    pub now_ms: u64,
    /// Who decides.
    pub leader: MachineId,
    /// In which term of the log.
    pub term: u64,
    /// Since when it has led, in milliseconds since 1970.
    pub leader_since_ms: u64,
    /// Since when it has watched the mesh without a break, in milliseconds since 1970: mostly since long before it led.
    pub watching_since_ms: u64,
    /// Who stands behind it.
    pub authority: Authority,
    /// What is known of each machine. A machine that is missing has not been heard of.
    pub machines: BTreeMap<MachineId, MachineEvidence>,
    /// Instances that carry our cluster's tag and that no machine of the roster is known to run on.
    pub strangers: Vec<Stranger>,
}

impl Situation {
    /// The same by another clock, by which it is `now_ms`, in milliseconds since 1970.
    pub fn dated_by(&self, now_ms: u64) -> Cow<'_, Self> {
        if now_ms == self.now_ms {
            return Cow::Borrowed(self);
        }
        let mut later = self.clone();
        let shift = shift_between(self.now_ms, now_ms);
        shift(&mut later.now_ms);
        shift(&mut later.leader_since_ms);
        shift(&mut later.watching_since_ms);
        later.authority.proven_gone.values_mut().for_each(&shift);
        for seen in later.machines.values_mut() {
            seen.shift(&shift);
        }
        Cow::Owned(later)
    }
}

/// How a time is told by another clock, by which it is `after_ms` when it is `before_ms` by the first one. What is in the
/// future stays so, by as much.
fn shift_between(before_ms: u64, after_ms: u64) -> impl Fn(&mut u64) {
    move |at_ms| {
        *at_ms = if after_ms >= before_ms {
            at_ms.saturating_add(after_ms - before_ms)
        } else {
            at_ms.saturating_sub(before_ms - after_ms)
        };
    }
}

/// Who stands behind a leader, for this very decision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Authority {
    /// Whether a quorum of coordinators confirmed the leader for this decision.
    pub quorum_confirmed: bool,
    /// Whether a machine stands behind another leader of this log, or somebody may have founded a later one by an operator's
    /// order: then it does not count how many stand behind this one.
    pub rivalled: bool,
    /// How many coordinators vote.
    pub voters: u32,
    /// How many of them answered, the leader included.
    pub voters_reachable: u32,
    /// The machines that acknowledged the leader in this term within the last seconds, the leader included.
    pub acknowledged: BTreeSet<MachineId>,
    /// The machines that their provisioners prove gone, with since when that has been known without a break, in
    /// milliseconds since 1970. A new leader starts anew.
    pub proven_gone: BTreeMap<MachineId, u64>,
}

/// What is known of one machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MachineEvidence {
    /// What the mesh says.
    pub member: Option<MemberEvidence>,
    /// What the machine last said of itself.
    pub record: Option<RecordEvidence>,
    /// What its provisioner says.
    pub provider: Option<ProviderEvidence>,
    /// What other machines got when they tried it; reports from before it fell silent are ignored.
    pub witnesses: Vec<WitnessEvidence>,
    /// Since when it has said nothing against its workload, without a break and as far as this leader has heard, in
    /// milliseconds since 1970; `None` where it has, or was not listened to for that.
    pub works_since_ms: Option<u64>,
    /// How often the leader saw it fall silent within the last hour, this time included.
    pub silences: u32,
}

impl MachineEvidence {
    /// The same by another clock, by which it is `after_ms` when it is `before_ms` by the one that it is dated by; both in
    /// milliseconds since 1970.
    pub fn dated_by(&self, before_ms: u64, after_ms: u64) -> Self {
        let mut later = self.clone();
        later.shift(&shift_between(before_ms, after_ms));
        later
    }

    fn shift(&mut self, shift: &impl Fn(&mut u64)) {
        if let Some(member) = &mut self.member {
            shift(&mut member.since_ms);
        }
        if let Some(provider) = &mut self.provider {
            shift(&mut provider.at_ms);
        }
        self.works_since_ms.iter_mut().for_each(shift);
        for report in &mut self.witnesses {
            shift(&mut report.at_ms);
        }
        if let Some(record) = &mut self.record {
            shift(&mut record.as_of_ms);
            if let Some(Workload::Failed { since_ms, .. }) = &mut record.workload {
                shift(since_ms);
            }
            if let Some(Leaving::Rebooting { until_ms }) = &mut record.leaving {
                shift(until_ms);
            }
        }
    }
}

/// An instance with our tags that no machine of the roster is known to run on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stranger {
    /// Its provisioner's name.
    pub provisioner: String,
    /// What the provisioner calls it.
    pub id: InstanceId,
    /// What the provisioner says about it.
    pub properties: Properties,
    /// The operation that made it, from its tags.
    pub op: Option<OperationId>,
    /// Whether it may be running.
    pub may_run: bool,
}
