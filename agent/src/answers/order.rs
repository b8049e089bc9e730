//! What people order, as commands for the log. Runs where the leader does.

use std::collections::{BTreeMap, BTreeSet};

use super::census::would_words;
use super::desk::Desk;
use super::group::pause_words;
use super::machine::no_machine;
use super::refused::refused;
use super::snapshot::{Snapshot, shorten};
use super::{adopt, hand, issue, plan, specs};
use crate::api::types::{ApplyRequest, Done, HealMode, Plan, ScaleRequest};
use crate::api::{ApiError, Caller, ErrorKind, Request, Response};
use crate::fleet::{
    self, Command, DecisionId, GroupId, Machine, MachineName, PauseKey, PauseScope, Reply, Text,
    TokenId, count, span,
};
use crate::spec::Registries;

/// Zones that an error names.
const ZONES_NAMED_MAX: usize = 16;

/// Carries out what changes the fleet.
pub(super) async fn order<D: Desk>(
    desk: &D,
    registries: &Registries,
    caller: &Caller,
    request: Request,
) -> Result<Response, ApiError> {
    match request {
        Request::Apply(request) => apply(desk, registries, caller, &request)
            .await
            .map(Response::Plan),
        Request::Adopt(request) => adopt::adopt(desk, registries, caller, request)
            .await
            .map(Response::Done),
        Request::Scale(request) => scale(desk, caller, &request).await.map(Response::Plan),
        Request::Ask(request) => hand::ask(desk, caller, request)
            .await
            .map(Box::new)
            .map(Response::Order),
        Request::TokenCreate(request) => issue::token(desk, caller, request)
            .await
            .map(Response::TokenCreated),
        Request::OperatorCreate(request) => issue::operator(desk, caller, request)
            .await
            .map(Response::OperatorCreated),
        request => {
            let (by, (command, detail)) = desk.snapshot(|snapshot| {
                Ok::<_, ApiError>((actor(snapshot, caller), simple(snapshot, request)?))
            })?;
            commit(desk, by, command).await?;
            Ok(Response::Done(Done { detail }))
        }
    }
}

/// Puts a command into the log; a refusal is an error.
pub(super) async fn commit<D: Desk>(
    desk: &D,
    by: Option<Text>,
    command: Command,
) -> Result<Reply, ApiError> {
    let reply = desk.propose(by, command).await?;
    reply.accepted().map_err(|refusal| refused(&refusal))
}

/// Who is on record as having asked.
pub(super) fn actor(snapshot: &Snapshot<'_>, caller: &Caller) -> Option<Text> {
    let words = match caller {
        Caller::Local { uid, .. } => format!("uid {uid} on {}", snapshot.name),
        Caller::Operator(name) => format!("operator {name}"),
        Caller::Machine { machine, asker } => {
            format!("{asker} by way of {}", snapshot.name_of(*machine))
        }
    };
    Some(Text::new(words))
}

// === groups ===

async fn apply<D: Desk>(
    desk: &D,
    registries: &Registries,
    caller: &Caller,
    request: &ApplyRequest,
) -> Result<Plan, ApiError> {
    specs::check(request, registries)?;
    let (plan, changes, by) = desk.snapshot(|snapshot| {
        let plan = plan::apply(snapshot, &request.specs, &request.expected)?;
        Ok::<_, ApiError>((
            plan,
            plan::changes(snapshot, &request.specs),
            actor(snapshot, caller),
        ))
    })?;
    plan::feasible(&plan)?;
    if plan.is_empty() {
        return Ok(plan::applied(plan, &BTreeMap::new()));
    }
    let mut revisions = BTreeMap::new();
    if let Reply::Applied(groups) = commit(desk, by, Command::ApplySpecs(changes)).await? {
        let now = groups.into_iter();
        revisions.extend(now.map(|applied| (applied.group.to_string(), applied.revision.0)));
    }
    Ok(plan::applied(plan, &revisions))
}

async fn scale<D: Desk>(
    desk: &D,
    caller: &Caller,
    request: &ScaleRequest,
) -> Result<Plan, ApiError> {
    let (plan, group, by) = desk.snapshot(|snapshot| {
        let plan = plan::scale(snapshot, &request.id, request.size)?;
        let group = snapshot.find_group(&request.id)?.0.clone();
        Ok::<_, ApiError>((plan, group, actor(snapshot, caller)))
    })?;
    plan::feasible(&plan)?;
    if plan.is_empty() {
        return Ok(plan::applied(plan, &BTreeMap::new()));
    }
    commit(
        desk,
        by,
        Command::ScaleGroup {
            group,
            size: request.size,
        },
    )
    .await?;
    let revisions = desk.snapshot(|snapshot| {
        let group = snapshot.find_group(&request.id).ok();
        group.map(|(id, group)| (id.to_string(), group.revision.0))
    });
    Ok(plan::applied(plan, &revisions.into_iter().collect()))
}

// === what is one command ===

/// A command, and what to answer when it is done.
type Order = Result<(Command, String), ApiError>;

/// The command for a request that is just that.
fn simple(snapshot: &Snapshot<'_>, request: Request) -> Order {
    match request {
        Request::GroupDestroy { id } => destroy(snapshot, &id),
        Request::GroupFree { id } => free(snapshot, &id),
        Request::HealMode { id, mode } => set_mode(snapshot, &id, mode),
        Request::Pause {
            id,
            zone,
            machine,
            name,
            reason,
            for_ms,
        } => {
            let scope = scope(snapshot, id, zone, machine)?;
            ensure_inhabited(snapshot, &scope)?;
            pause(snapshot, scope, name, reason, for_ms)
        }
        Request::Resume {
            id,
            zone,
            machine,
            name,
        } => resume(snapshot, (id, zone, machine), name),
        Request::MachineRevoke { .. }
        | Request::MachineForget { .. }
        | Request::Cordon { .. }
        | Request::Uncordon { .. } => about_machine(snapshot, request),
        Request::Approve { subject } => approve(snapshot, &subject),
        Request::Cancel { subject } => hand::cancel(snapshot, &subject),
        Request::Release { name } => super::quarantine::release(snapshot, &name),
        Request::TokenRevoke { id } => {
            let id = token_id(&id)?;
            Ok((
                Command::RevokeToken { id },
                format!("token {id} lets nobody in any more"),
            ))
        }
        Request::OperatorRevoke { name } => revoke_operator(&name),
        other => Err(no_command(&other)),
    }
}

/// The approval of a decision, by its number or by the name of the machine that it is about. Names go before numbers.
fn approve(snapshot: &Snapshot<'_>, subject: &str) -> Order {
    let decision = match snapshot.find_machine(subject) {
        Some(machine) => snapshot.state.awaits_approval(machine.id).ok_or_else(|| {
            ApiError::new(
                ErrorKind::Refused,
                format!("nothing about {} waits for approval", machine.name),
            )
            .remedy(format!(
                "`muster explain {}` says how it stands",
                machine.name
            ))
        })?,
        None => DecisionId(subject.trim_start_matches('#').parse().map_err(|_| {
            ApiError::not_found(format!(
                "no machine and no decision goes by `{}`",
                shorten(subject)
            ))
            .remedy("`muster status` shows what waits for approval")
        })?),
    };
    let command = Command::Approve { decision };
    let Some((machine, approval)) = snapshot.state.approvable(decision) else {
        // What is wrong with it is for the state to say.
        return Ok((command, String::new()));
    };
    let what = would_words(approval.would, &snapshot.name_of(machine));
    let detail = if snapshot
        .state
        .is_approved(machine, &approval, snapshot.now_ms)
    {
        format!("it was approved before to {what}; that is done once it passes every rule")
    } else {
        format!("decision {decision} is approved: to {what}, if that still passes every rule")
    };
    Ok((command, detail))
}

/// The command for what is said about one machine, and done at once.
fn about_machine(snapshot: &Snapshot<'_>, request: Request) -> Order {
    match request {
        Request::MachineRevoke { name } => {
            let machine = on_roster(snapshot, &name)?;
            let detail = format!(
                "{} ({}) is shut out: its certificate is refused from now on",
                machine.name, machine.id
            );
            Ok((
                Command::RevokeMachine {
                    machine: machine.id,
                },
                detail,
            ))
        }
        Request::MachineForget { name } => {
            let machine = on_roster(snapshot, &name)?;
            ensure_silent(snapshot, machine)?;
            let detail = format!("{} ({}) is off the roster", machine.name, machine.id);
            Ok((
                Command::Forget {
                    machine: machine.id,
                },
                detail,
            ))
        }
        Request::Cordon { name, reason } => {
            let machine = on_roster(snapshot, &name)?;
            if reason.trim().is_empty() {
                return Err(ApiError::invalid("the reason for the cordon is empty")
                    .remedy("say why, for those who come later: --reason 'memory under test'"));
            }
            let detail = format!("{} is cordoned: it is left to people", machine.name);
            let (machine, reason) = (machine.id, Text::new(reason));
            Ok((Command::Cordon { machine, reason }, detail))
        }
        Request::Uncordon { name } => uncordon(snapshot, &name),
        other => Err(no_command(&other)),
    }
}

/// Refuses to forget a machine that answers: it would run on with nobody to look after it.
fn ensure_silent(snapshot: &Snapshot<'_>, machine: &Machine) -> Result<(), ApiError> {
    if !snapshot.world.is_active(machine.id) {
        return Ok(());
    }
    let name = &machine.name;
    Err(ApiError::new(
        ErrorKind::Refused,
        format!("{name} still answers, and forgetting it would not stop it"),
    )
    .remedy(format!(
        "run `muster leave` on it, or shut it out with `muster revoke {name}`, or stop it and forget it once it is down"
    )))
}

fn no_command(request: &Request) -> ApiError {
    // Answered elsewhere; getting here is a defect, and no reason to stop the agent.
    ApiError::internal(format!("no command is known for {request:?}"))
}

fn destroy(snapshot: &Snapshot<'_>, id: &str) -> Order {
    let group = existing(snapshot, id)?;
    let machines = machines_of(snapshot, &group);
    let detail =
        format!("group {group} is being destroyed: {machines} to take away, then it is forgotten");
    Ok((Command::DestroyGroup { group }, detail))
}

fn free(snapshot: &Snapshot<'_>, id: &str) -> Order {
    let group = existing(snapshot, id)?;
    let machines = machines_of(snapshot, &group);
    let detail = format!("group {group} is forgotten; {machines} left as they are");
    Ok((Command::FreeGroup { group }, detail))
}

fn set_mode(snapshot: &Snapshot<'_>, id: &str, mode: HealMode) -> Order {
    let group = existing(snapshot, id)?;
    let detail = format!("group {group} is in heal mode `{mode}` now");
    Ok((
        Command::SetHealMode {
            group,
            mode: heal_mode(mode),
        },
        detail,
    ))
}

fn uncordon(snapshot: &Snapshot<'_>, name: &str) -> Order {
    let machine = on_roster(snapshot, name)?;
    let name = &machine.name;
    let mut detail = format!("{name} is not cordoned any more");
    if snapshot.state.is_drained(machine.id) {
        detail.push_str(&format!(
            "; its workload was drained: where it does not take up its duties by itself, `muster restart {name}` or `muster reboot {name}` has it begin anew"
        ));
    }
    Ok((
        Command::Uncordon {
            machine: machine.id,
        },
        detail,
    ))
}

fn revoke_operator(name: &str) -> Order {
    let name = MachineName::new(name).map_err(|_| {
        ApiError::not_found(format!("there is no operator `{}`", shorten(name)))
            .remedy("`muster operator list` shows the operators")
    })?;
    let detail = format!("operator {name}'s certificate is refused from now on");
    Ok((Command::RevokeOperator { name }, detail))
}

fn pause(
    snapshot: &Snapshot<'_>,
    scope: PauseScope,
    name: Option<String>,
    reason: Option<String>,
    for_ms: Option<u64>,
) -> Order {
    if reason.as_ref().is_some_and(|why| why.trim().is_empty()) {
        return Err(ApiError::invalid("the reason for the pause is empty")
            .remedy("say why, for those who come later: --reason 'moving racks'"));
    }
    let reason = reason.unwrap_or_default();
    let clock_ms = snapshot.now_ms.max(snapshot.state.clock_ms);
    let lasting = match for_ms {
        Some(ms) => format!("for {}", span(ms)),
        None => "until it is resumed".to_owned(),
    };
    let name = name.map(pause_name).transpose()?;
    let key = PauseKey { scope, name };
    let before = snapshot.pauses().find(|(other, _)| **other == key);
    let before = before.map_or_else(String::new, |(key, pause)| {
        let words = pause_words(key, pause, snapshot.now_ms);
        format!("; this takes the place of the pause before it ({words})")
    });
    let PauseKey { scope, name } = key;
    let detail = format!("{scope} is paused {lasting}: nothing is healed or scaled{before}");
    let command = Command::Pause {
        scope,
        name,
        reason: Text::new(reason),
        until_ms: for_ms.map(|ms| clock_ms.saturating_add(ms)),
    };
    Ok((command, detail))
}

fn resume(
    snapshot: &Snapshot<'_>,
    (group, zone, machine): (Option<String>, Option<String>, Option<String>),
    name: Option<String>,
) -> Order {
    let anywhere = group.is_none() && zone.is_none() && machine.is_none();
    match name {
        Some(name) if anywhere => {
            let name = pause_name(name)?;
            let detail = format!("pause `{name}` ends");
            Ok((Command::EndPause { name }, detail))
        }
        Some(_) => Err(ApiError::invalid(
            "a pause is meant by its name or by its place, not by both",
        )),
        None => {
            let scope = scope(snapshot, group, zone, machine)?;
            let detail = format!("{scope} goes on");
            Ok((Command::Resume { scope }, detail))
        }
    }
}

fn pause_name(name: String) -> Result<MachineName, ApiError> {
    MachineName::new(name).map_err(|error| {
        ApiError::invalid(error.to_string().replace("machine name", "pause's name"))
    })
}

/// What a pause covers: one thing, or the whole fleet.
fn scope(
    snapshot: &Snapshot<'_>,
    group: Option<String>,
    zone: Option<String>,
    machine: Option<String>,
) -> Result<PauseScope, ApiError> {
    match (group, zone, machine) {
        (None, None, None) => Ok(PauseScope::Fleet),
        (Some(id), None, None) => existing(snapshot, &id).map(PauseScope::Group),
        (None, Some(zone), None) => Ok(PauseScope::Zone(zone)),
        (None, None, Some(name)) => {
            let machine = on_roster(snapshot, &name)?;
            Ok(PauseScope::Machine(machine.name.clone()))
        }
        _ => Err(ApiError::invalid(
            "a pause covers a group, a zone or a machine, not several of them",
        )
        .remedy("set one for each")),
    }
}

/// Refuses to pause a zone in which there is no machine, nor is to be any: that is a slip.
fn ensure_inhabited(snapshot: &Snapshot<'_>, scope: &PauseScope) -> Result<(), ApiError> {
    let PauseScope::Zone(zone) = scope else {
        return Ok(());
    };
    let inhabited = snapshot.state.machines.values();
    let inhabited = inhabited.filter_map(Machine::known_zone);
    let groups = snapshot.state.groups.values();
    let declared = groups.flat_map(|group| group.spec.placement.zones.iter().map(String::as_str));
    let zones: BTreeSet<&str> = inhabited.chain(declared).collect();
    if zones.contains(zone.as_str()) {
        return Ok(());
    }
    let known: Vec<_> = zones.into_iter().take(ZONES_NAMED_MAX).collect();
    let remedy = match known.as_slice() {
        [] => "no machine has a label `zone`, and no group a placement over zones".to_owned(),
        known => format!("there are {}", known.join(", ")),
    };
    let message = format!("no machine is in zone `{}`, nor is to be", shorten(zone));
    Err(ApiError::not_found(message).remedy(remedy))
}

fn existing(snapshot: &Snapshot<'_>, id: &str) -> Result<GroupId, ApiError> {
    snapshot.find_group(id).map(|(id, _)| id.clone())
}

fn on_roster<'a>(snapshot: &Snapshot<'a>, name: &str) -> Result<&'a Machine, ApiError> {
    snapshot.find_machine(name).ok_or_else(|| no_machine(name))
}

fn machines_of(snapshot: &Snapshot<'_>, group: &GroupId) -> String {
    let roster = snapshot.state.machines.values();
    count(
        roster
            .filter(|machine| machine.group() == Some(group))
            .count(),
        "machine",
    )
}

fn heal_mode(mode: HealMode) -> fleet::HealMode {
    match mode {
        HealMode::Observe => fleet::HealMode::Observe,
        HealMode::Approve => fleet::HealMode::Approve,
        HealMode::Auto => fleet::HealMode::Auto,
    }
}

/// The length of a token's ID in hexadecimal digits.
const TOKEN_ID_DIGITS: usize = 16;

fn token_id(text: &str) -> Result<TokenId, ApiError> {
    let is_id = text.len() == TOKEN_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    number.map(TokenId).ok_or_else(|| {
        ApiError::not_found(format!("`{}` is no token's ID", shorten(text)))
            .remedy("`muster token list` shows the IDs, of 16 hexadecimal digits")
    })
}
