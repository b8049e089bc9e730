//! Orders by hand: from what a person asks to a command, and how far it has come.

use std::time::Duration;

use super::census::{held_words, would_words};
use super::decisions::decision_row;
use super::desk::Desk;
use super::intents::{intent_row, progress_words};
use super::machine::no_machine;
use super::order::{actor, commit};
use super::snapshot::{Snapshot, shorten};
use crate::api::types::{AskRequest, CordonRow, Deed, OrderDetail, OrderRow, OrderState};
use crate::api::{ApiError, Caller, ErrorKind};
use crate::fleet::{
    Ask, Command, Decision, Demand, DemandEnd, DemandId, DemandState, Intent, Machine, Outcome,
    Reply, Rule, Rung, Text, Would, span,
};

/// How long an order stands while a rule holds it, unless told, in milliseconds.
const STANDS_MS: u64 = 10 * 60 * 1000;

/// How long the leader's rules have to say something before the answer goes out without. They need one round of
/// acknowledgements and a word from the machine's provisioner.
const WORD_DEADLINE: Duration = Duration::from_secs(5);

/// Puts an order on record, and answers with what the rules say to it.
pub(super) async fn ask<D: Desk>(
    desk: &D,
    caller: &Caller,
    request: AskRequest,
) -> Result<OrderDetail, ApiError> {
    let (by, command) = desk.snapshot(|snapshot| {
        Ok::<_, ApiError>((actor(snapshot, caller), command(snapshot, request)?))
    })?;
    let Reply::Asked(id) = commit(desk, by, command).await? else {
        return Err(ApiError::internal(
            "an order was put on record without a number",
        ));
    };
    let mut changes = desk.changes();
    let decided = async {
        while !desk.snapshot(|snapshot| is_decided(snapshot, id)) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    // Without a word the answer says that there is none yet.
    let _ = tokio::time::timeout(WORD_DEADLINE, decided).await;
    desk.snapshot(|snapshot| detail(snapshot, id.0))
}

fn command(snapshot: &Snapshot<'_>, request: AskRequest) -> Result<Command, ApiError> {
    let AskRequest {
        name,
        what,
        reason,
        for_ms,
        force,
    } = request;
    let machine = snapshot
        .find_machine(&name)
        .ok_or_else(|| no_machine(&name))?;
    let clock_ms = snapshot.now_ms.max(snapshot.state.clock_ms);
    Ok(Command::Ask(Box::new(Ask {
        machine: machine.id,
        what: would(what),
        reason: Text::new(reason),
        until_ms: clock_ms.saturating_add(for_ms.unwrap_or(STANDS_MS)),
        forced: force
            .iter()
            .map(|rule| parse(rule))
            .collect::<Result<_, _>>()?,
    })))
}

fn would(what: Deed) -> Would {
    match what {
        Deed::Restart => Would::Treat(Rung::RestartWorkload),
        Deed::Reboot => Would::Treat(Rung::Reboot),
        Deed::PowerCycle => Would::Treat(Rung::PowerCycle),
        Deed::Reimage => Would::Treat(Rung::Reimage),
        Deed::Drain => Would::Drain,
        Deed::Replace => Would::Replace,
    }
}

fn parse(text: &str) -> Result<Rule, ApiError> {
    let rule = Rule::ORDER
        .into_iter()
        .find(|rule| rule.to_string() == text);
    rule.ok_or_else(|| {
        ApiError::invalid(format!("there is no rule `{}`", shorten(text)))
            .remedy("`muster explain` names the rules that held; docs/healing.md lists all")
    })
}

/// The command that takes an order back: by its number, or the one that stands about a machine.
pub(super) fn cancel(
    snapshot: &Snapshot<'_>,
    subject: &str,
) -> Result<(Command, String), ApiError> {
    let demands = &snapshot.state.demands;
    let of_machine = snapshot.find_machine(subject).and_then(|machine| {
        let mut open = demands.iter().filter(|(_, demand)| demand.is_open());
        open.find(|(_, demand)| demand.machine == machine.id)
            .map(|(id, demand)| (*id, demand))
    });
    let of_number = || {
        let number = subject.strip_prefix('#').unwrap_or(subject);
        let number = DemandId(number.parse().ok()?);
        Some((number, demands.get(&number)?))
    };
    let (id, demand) = of_machine.or_else(of_number).ok_or_else(|| {
        ApiError::not_found(format!("no order by hand waits for `{}`", shorten(subject)))
            .remedy("`muster status` shows the orders that stand")
    })?;
    if let DemandState::UnderWay { .. } = demand.state {
        let (_, words) = progress(snapshot, id, demand);
        let what = would_words(demand.what, demand.name.as_str());
        let error = format!("order {id}, to {what}, has begun: {words}");
        return Err(ApiError::new(ErrorKind::Refused, error).remedy(format!(
            "what is begun is carried through; `muster order {id}` tells how it goes"
        )));
    }
    let detail = format!(
        "order {id} to {} {} is taken back",
        demand.what, demand.name
    );
    Ok((Command::Withdraw { demand: id }, detail))
}

/// Whether the rules have said something to an order, or it is over.
fn is_decided(snapshot: &Snapshot<'_>, id: DemandId) -> bool {
    let demand = snapshot.state.demands.get(&id);
    demand.is_none_or(|demand| !demand.waits()) || decision_on(snapshot, id).is_some()
}

fn decision_on<'a>(snapshot: &Snapshot<'a>, id: DemandId) -> Option<&'a Decision> {
    let mut decisions = snapshot.state.decisions.iter().rev();
    decisions.find(|decision| decision.proposal.cause.demand() == Some(id))
}

/// All orders by hand that wait or are under way, oldest first.
pub(super) fn open(snapshot: &Snapshot<'_>) -> Vec<OrderRow> {
    let demands = snapshot.state.demands.iter();
    demands
        .filter(|(_, demand)| demand.is_open())
        .map(|(id, demand)| row(snapshot, *id, demand))
        .collect()
}

/// All about one order by hand.
///
/// # Errors
/// `not_found` when there is none of this number on record.
pub(super) fn detail(snapshot: &Snapshot<'_>, number: u64) -> Result<OrderDetail, ApiError> {
    let id = DemandId(number);
    let demand = snapshot.state.demands.get(&id).ok_or_else(|| {
        ApiError::not_found(format!("there is no order {number} on record")).remedy(
            "`muster status` shows the orders that stand, and `muster events` those that ended",
        )
    })?;
    Ok(OrderDetail {
        answer: snapshot.as_of(),
        order: row(snapshot, id, demand),
        decision: decision_on(snapshot, id).map(|decision| decision_row(snapshot, decision)),
        intent: intent_of(snapshot, id).map(|intent| intent_row(snapshot, intent)),
    })
}

fn intent_of<'a>(snapshot: &Snapshot<'a>, id: DemandId) -> Option<&'a Intent> {
    let mut intents = snapshot.state.intents.values();
    intents.find(|intent| intent.asked == Some(id))
}

fn row(snapshot: &Snapshot<'_>, id: DemandId, demand: &Demand) -> OrderRow {
    let (state, detail) = progress(snapshot, id, demand);
    OrderRow {
        order: id.0,
        machine: demand.name.to_string(),
        group: demand.group.to_string(),
        what: match demand.what {
            Would::Treat(Rung::RestartWorkload) => Deed::Restart.to_string(),
            what => what.to_string(),
        },
        reason: demand.reason.to_string(),
        by: demand.by.as_ref().map(ToString::to_string),
        at_ms: demand.at_ms,
        until_ms: demand.until_ms,
        forced: demand.forced.iter().map(Rule::to_string).collect(),
        state,
        detail,
    }
}

fn progress(snapshot: &Snapshot<'_>, id: DemandId, demand: &Demand) -> (OrderState, String) {
    match &demand.state {
        DemandState::Waits => {
            let left = span(demand.until_ms.saturating_sub(snapshot.now_ms));
            let held = decision_on(snapshot, id).map(|decision| &decision.proposal.outcome);
            let why = match held {
                Some(Outcome::Hold {
                    rule,
                    detail,
                    until_ms,
                }) => {
                    let why = held_words(detail, *until_ms, snapshot.now_ms);
                    format!("rule `{rule}` holds: {why}")
                }
                _ if snapshot.quorum.ok => "the leader has not looked at it yet".to_owned(),
                _ => format!("rule `quorum` holds: {}", snapshot.quorum.detail),
            };
            (
                OrderState::Waits,
                format!("{why}; it stands for another {left}"),
            )
        }
        DemandState::UnderWay { op } => {
            let intent = snapshot.state.intents.get(op);
            let words = intent.map_or_else(String::new, progress_words);
            (OrderState::UnderWay, words)
        }
        DemandState::Ended { end, .. } => ended(end),
    }
}

fn ended(end: &DemandEnd) -> (OrderState, String) {
    match end {
        DemandEnd::Done => (OrderState::Done, "it was carried out".to_owned()),
        DemandEnd::Failed { error } => (OrderState::Failed, error.to_string()),
        DemandEnd::Expired => (
            OrderState::Expired,
            "no rule let it pass in time".to_owned(),
        ),
        DemandEnd::Withdrawn => (OrderState::Withdrawn, "somebody took it back".to_owned()),
        DemandEnd::Overtaken => (
            OrderState::Overtaken,
            "something else was done to the machine first, or it went off the roster".to_owned(),
        ),
    }
}

/// Why a machine is left to people, if it is.
pub(super) fn cordon(snapshot: &Snapshot<'_>, machine: &Machine) -> Option<CordonRow> {
    let cordon = snapshot.state.cordons.get(&machine.id)?;
    Some(CordonRow {
        reason: cordon.reason.to_string(),
        by: cordon.by.as_ref().map(ToString::to_string),
        since_ms: cordon.since_ms,
        drained_ms: machine.drained_ms,
    })
}
