//! Invariant 5: slow is not dead. What any witness gets an answer from is not destroyed.

use super::{Invariant, Sight};
use crate::fleet::{Action, Answer, Diagnosis, MemberEvidence, MemberStatus, Outcome, Phase};
use crate::heal::timing::REPORT_MS;

pub(super) struct SlowIsNotDead;

impl Invariant for SlowIsNotDead {
    fn title(&self) -> &'static str {
        "slow is not dead"
    }

    fn see(&mut self, sight: &Sight<'_>) -> Result<(), String> {
        if let Sight::Called(call) = sight
            && let Some(machine) = call.ends.filter(|_| call.is_back)
        {
            return Err(format!("{} ends {machine}, which is back", call.op));
        }
        let Sight::Decided {
            state,
            situation,
            plan,
            ..
        } = sight
        else {
            return Ok(());
        };
        for proposal in &plan.proposals {
            let Outcome::Act {
                action: Action::Replace { old, .. } | Action::Reimage { old, .. },
                ..
            } = &proposal.outcome
            else {
                continue;
            };
            let joined = state
                .machines
                .get(old)
                .is_some_and(|machine| machine.phase == Phase::Joined);
            let Some(seen) = situation.machines.get(old).filter(|_| joined) else {
                continue;
            };
            // Nobody takes it for dead: a person wants it replaced, or its workload has failed for good.
            let alive = |member: &MemberEvidence| member.status == MemberStatus::Alive;
            let ailing = proposal.cause.diagnosis() == Some(Diagnosis::WorkloadFailed);
            let meant = ailing || proposal.cause.demand().is_some();
            if meant && seen.member.as_ref().is_some_and(alive) {
                continue;
            }
            let since_ms = seen.member.map_or(0, |member| member.since_ms);
            let heard = seen.witnesses.iter().find(|report| {
                report.answer == Answer::Answered
                    && report.at_ms >= since_ms
                    && situation.now_ms.saturating_sub(report.at_ms) < REPORT_MS
            });
            if let Some(report) = heard {
                return Err(format!(
                    "{old} is replaced or reimaged, and {} gets an answer from it",
                    report.by
                ));
            }
        }
        Ok(())
    }
}
