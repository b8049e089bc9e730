//! Giving out leases, and knowing when one that was given out is over.
//!
//! A lease is granted after the coordinators, and more than half of the roster, have confirmed this leader; one confirmation
//! serves all that ask within a moment. The asking machine counts from before it asked, and so from before the
//! confirmation. Whoever leads later was elected after the confirmation. So a lease of an earlier leader is over by the
//! time that the new one has led for a lease, and that is all that a leader has to know of its predecessors.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_mesh::consensus::{LogGeneration, Replica, StateMachine};
use muster_mesh::identity::MachineId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backing::Backing;
use super::drift::Drift;
use crate::fleet::{Command, DRIFT_PERCENT, FleetState, LeaseTerms};
use crate::node::lease::{LeaseAnswer, LeaseRequest};
use crate::node::propose::propose_in;
use crate::node::shared::Shared;

/// Questions that wait. One machine has at most one.
const WAITING_MAX: usize = 1024;

/// Questions that come within this time are answered after one confirmation.
const BEAT: Duration = Duration::from_millis(50);

/// Promises that are put on record at the same time. Whoever comes when there are as many asks again in a second.
const BONDS_MAX: usize = 32;

/// How long this machine's copy of the log may take until it has what was there when its leadership was confirmed.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How often what is known of machines that are off the roster is forgotten.
const PRUNE_PERIOD: Duration = Duration::from_secs(60);

/// A machine's question, and where its answer goes.
struct Asked {
    machine: MachineId,
    request: LeaseRequest,
    /// Before anything was waited for: how fast the asking machine's clock runs is measured by it.
    arrived: Instant,
    answer: oneshot::Sender<LeaseAnswer>,
}

/// Where questions for leases are taken while this machine leads.
#[derive(Debug, Default)]
pub(in crate::node) struct LeaseDesk(Mutex<Option<mpsc::Sender<Asked>>>);

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} asks for a lease", self.machine)
    }
}

impl LeaseDesk {
    /// The leader's answer; `None` when this machine does not lead, or not any more.
    pub(in crate::node) async fn ask(
        &self,
        machine: MachineId,
        request: LeaseRequest,
    ) -> Option<LeaseAnswer> {
        let desk = lock(&self.0).clone()?;
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            machine,
            request,
            arrived: Instant::now(),
            answer,
        };
        desk.try_send(asked).ok()?;
        // Whoever waits no longer has asked again, and this question is left out.
        let answered = tokio::time::timeout(request.patience(), answered).await;
        answered.ok()?.ok()
    }

    fn open(&self) -> mpsc::Receiver<Asked> {
        let (desk, asked) = mpsc::channel(WAITING_MAX);
        *lock(&self.0) = Some(desk);
        asked
    }
}

impl Asked {
    /// Answers. Who does not wait any more asks again.
    fn say(self, said: LeaseAnswer) {
        let _ = self.answer.send(said);
    }

    fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

/// The leases that one leader has given out.
pub(super) struct Leases {
    since: Instant,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    granted: BTreeMap<MachineId, Instant>,
    drifts: BTreeMap<MachineId, Drift>,
    proven_gone: BTreeMap<MachineId, u64>,
    /// Up to when each machine may have got a lease from a leader of an older log.
    unaccounted: BTreeMap<MachineId, Instant>,
}

impl Leases {
    /// Those of a leader that begins to lead now.
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            book: Mutex::default(),
        }
    }

    /// Takes down which machines are proved gone, with since when: the right to grant may depend on it.
    pub(super) fn note_gone(&self, proven_gone: &BTreeMap<MachineId, u64>) {
        lock(&self.book).proven_gone.clone_from(proven_gone);
    }

    /// Forgets those that are off the roster: their IDs are not used again.
    fn prune(&self, is_on_roster: impl Fn(MachineId) -> bool) {
        let mut book = lock(&self.book);
        book.granted.retain(|machine, _| is_on_roster(*machine));
        book.drifts.retain(|machine, _| is_on_roster(*machine));
        book.unaccounted.retain(|machine, _| is_on_roster(*machine));
    }

    /// Takes down that a leader of an older log may have granted a machine a lease up to this moment: to be said after the
    /// machine has promised to stand behind no such leader, and before the state counts it again.
    pub(super) fn note_unaccounted(&self, machine: MachineId) {
        lock(&self.book).unaccounted.insert(machine, Instant::now());
    }

    /// How long the workload of a machine may still run under a lease of these terms, whoever granted it; zero when it does
    /// not any more. Final only once the state lets the machine have no new one.
    pub(super) fn left(&self, machine: MachineId, terms: LeaseTerms) -> Duration {
        let book = lock(&self.book);
        let granted = book.granted.get(&machine).copied().unwrap_or(self.since);
        let last = book
            .unaccounted
            .get(&machine)
            .map_or(granted, |at| granted.max(*at));
        let over = last + Duration::from_millis(terms.over_ms());
        over.saturating_duration_since(Instant::now())
    }

    /// Whether this leader has granted a machine a lease that is still good.
    pub(super) fn holds(&self, machine: MachineId, terms: LeaseTerms) -> bool {
        let granted = lock(&self.book).granted.get(&machine).copied();
        granted.is_some_and(|at| at.elapsed() < Duration::from_millis(terms.lease_ms))
    }

    /// Grants a machine its lease if the state lets it have one at this moment. What is read and what is taken down are one
    /// step, so that [`Self::left`] never misses a grant that the state it was asked in would have allowed.
    fn grant(
        &self,
        may_have: impl FnOnce() -> Verdict,
        machine: MachineId,
        request: LeaseRequest,
        arrived: Instant,
    ) -> LeaseAnswer {
        let mut book = lock(&self.book);
        if let Verdict::Answer(answer) = may_have() {
            return answer;
        }
        let drift = book.drifts.entry(machine).or_default();
        let slow = drift.note(arrived - self.since, request.sent_ms);
        if let Some(percent) = slow.filter(|percent| *percent > DRIFT_PERCENT as f64 / 2.0) {
            return refused(format!(
                "its clock is {percent:.1} % slower than the leader's, and {} % are allowed",
                DRIFT_PERCENT as f64 / 2.0
            ));
        }
        book.granted.insert(machine, Instant::now());
        LeaseAnswer::Granted
    }
}

/// Answers questions for leases for as long as this machine leads.
pub(super) async fn keep(
    shared: Arc<Shared>,
    backing: Arc<Backing>,
    leases: Arc<Leases>,
    term: u64,
) {
    let mut questions = shared.leases.open();
    let mut bonds = JoinSet::new();
    let mut prune_at = Instant::now() + PRUNE_PERIOD;
    loop {
        let first = tokio::select! {
            first = questions.recv() => first,
            Some(_) = bonds.join_next() => continue,
        };
        let Some(first) = first else { return };
        tokio::time::sleep(BEAT).await;
        let mut asked = vec![first];
        while let Ok(more) = questions.try_recv() {
            asked.push(more);
        }
        asked.retain(Asked::is_awaited);
        if Instant::now() >= prune_at {
            prune_at = Instant::now() + PRUNE_PERIOD;
            let state = |machine| {
                shared
                    .replica
                    .read(|state, _| state.machines.contains_key(&machine))
            };
            leases.prune(state);
        }
        let permitted = permit(&shared, &backing, &leases).await;
        let ours = LogGeneration(backing.ballot().generation);
        for asked in asked {
            if asked.request.log != ours {
                asked.say(refused(
                    "it follows another log than this leader's".to_owned(),
                ));
                continue;
            }
            let bond = shared
                .replica
                .read(|state, _| needed_bond(state, asked.machine, asked.request.terms));
            match (&permitted, bond) {
                (Err(why), _) => asked.say(refused(why.clone())),
                (Ok(()), None) => answer(&shared, &leases, asked),
                (Ok(()), Some(_)) if bonds.len() >= BONDS_MAX => asked.say(refused(
                    "the promises of many machines are being put on record; it asks again"
                        .to_owned(),
                )),
                // A commit takes its time, in which others have to be answered.
                (Ok(()), Some(terms)) => {
                    let (shared, leases) = (Arc::clone(&shared), Arc::clone(&leases));
                    bonds.spawn(async move { bind(&shared, &leases, term, (asked, terms)).await });
                }
            }
        }
    }
}

/// Whether leases may be granted, or anything else changed, at this moment, by what this machine's copy says.
///
/// # Errors
/// Why not.
pub(super) async fn permit(
    shared: &Shared,
    backing: &Backing,
    leases: &Leases,
) -> Result<(), String> {
    let proven_gone = lock(&leases.book).proven_gone.clone();
    let permitted = backing.permit(proven_gone).await;
    let index = permitted.map_err(|check| check.margin.to_string())?;
    if catches_up(&shared.replica, index).await {
        return Ok(());
    }
    Err("the leader's own copy of the log is behind".to_owned())
}

/// Waits until a copy of the log has that entry; whether it has in time. What says in there that a machine is to have no
/// lease must not be missed.
async fn catches_up<S: StateMachine>(replica: &Replica<S>, index: u64) -> bool {
    let mut applied = replica.watch();
    let has = applied.wait_for(|at| at.is_some_and(|at| at.index >= index));
    matches!(tokio::time::timeout(CATCH_UP, has).await, Ok(Ok(_)))
}

/// Puts a machine's promise on record, or that it is released from it, and answers.
async fn bind(
    shared: &Shared,
    leases: &Leases,
    term: u64,
    (asked, terms): (Asked, Option<LeaseTerms>),
) {
    let machine = asked.machine;
    let command = Command::BindLease { machine, terms };
    match propose_in(shared, Some(term), None, command).await {
        Ok(_) => answer(shared, leases, asked),
        Err(error) => asked.say(refused(format!(
            "its promise was not put on record: {error}"
        ))),
    }
}

fn answer(shared: &Shared, leases: &Leases, asked: Asked) {
    let (machine, request, arrived) = (asked.machine, asked.request, asked.arrived);
    let may_have = || {
        let replica = &shared.replica;
        replica.read(|state, _| may_have(state, machine, request.terms))
    };
    let said = leases.grant(may_have, machine, request, arrived);
    asked.say(said);
}

/// What has to be put on record before a machine is answered: the terms that it holds itself to, or that it does not any more.
fn needed_bond(
    state: &FleetState,
    machine: MachineId,
    asked: Option<LeaseTerms>,
) -> Option<Option<LeaseTerms>> {
    let on_record = state.machines.get(&machine)?.lease;
    let wanted = terms_of(state, machine);
    match (asked, on_record) {
        (None, Some(_)) if wanted.is_none() => Some(None),
        (Some(terms), None) if wanted == Some(terms) => Some(Some(terms)),
        (Some(terms), Some(known)) if wanted == Some(terms) && known.or_longer(terms) != known => {
            Some(Some(terms))
        }
        _ => None,
    }
}

enum Verdict {
    Grant,
    Answer(LeaseAnswer),
}

/// Whether a machine may have a lease as the state stands.
fn may_have(state: &FleetState, id: MachineId, asked: Option<LeaseTerms>) -> Verdict {
    let stop = |why: &str| {
        Verdict::Answer(LeaseAnswer::Refused {
            why: why.to_owned(),
            stop: true,
        })
    };
    let Some(machine) = state.machines.get(&id).filter(|machine| !machine.condemned) else {
        return stop("it is not on the roster any more");
    };
    if state.is_being_fenced(machine) {
        return stop("it is being taken away");
    }
    let wanted = terms_of(state, id);
    match (asked, machine.lease) {
        (None, None) => Verdict::Answer(LeaseAnswer::Released),
        (Some(terms), Some(known)) if known.or_longer(terms) == known => Verdict::Grant,
        _ if asked != wanted => Verdict::Answer(refused(
            "its group's lease is another one; its copy of the state is behind".to_owned(),
        )),
        _ => Verdict::Answer(refused("its promise is not on record".to_owned())),
    }
}

/// The lease that a machine's group declares.
fn terms_of(state: &FleetState, id: MachineId) -> Option<LeaseTerms> {
    let machine = state.machines.get(&id)?;
    let group = state.groups.get(machine.group()?)?;
    group.spec.heal.lease
}

fn refused(why: String) -> LeaseAnswer {
    LeaseAnswer::Refused { why, stop: false }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod histories;

#[cfg(test)]
mod tests {

    use super::*;
    use crate::fleet::testing::{Fleet, pets};
    use crate::fleet::{Diagnosis, StepResult};

    const TERMS: LeaseTerms = LeaseTerms {
        lease_ms: 10_000,
        stop_ms: 3_000,
    };

    fn fleet(lease: Option<LeaseTerms>) -> (Fleet, MachineId) {
        let mut spec = pets("db", &["db-1", "db-2"]);
        spec.heal.lease = lease;
        let fleet = Fleet::with(&[spec]);
        let pet = fleet.id("db-1");
        (fleet, pet)
    }

    fn is_granted(fleet: &Fleet, pet: MachineId, asked: LeaseTerms) -> bool {
        matches!(may_have(&fleet.state, pet, Some(asked)), Verdict::Grant)
    }

    #[test]
    fn nothing_is_granted_before_the_promise_is_on_record_nor_once_the_machine_is_replaced() {
        let (mut fleet, pet) = fleet(Some(TERMS));
        assert_eq!(
            needed_bond(&fleet.state, pet, Some(TERMS)),
            Some(Some(TERMS))
        );
        assert!(!is_granted(&fleet, pet, TERMS));
        fleet.ok(Command::BindLease {
            machine: pet,
            terms: Some(TERMS),
        });
        assert_eq!(needed_bond(&fleet.state, pet, Some(TERMS)), None);
        assert!(is_granted(&fleet, pet, TERMS));
        let longer = LeaseTerms {
            lease_ms: 20_000,
            ..TERMS
        };
        assert!(
            !is_granted(&fleet, pet, longer),
            "for longer than its successor would wait"
        );
        let successor = fleet.act(fleet.replace(pet, Diagnosis::Unreachable));
        assert!(!is_granted(&fleet, pet, TERMS));
        fleet.report(successor, StepResult::LeaseOver);
        fleet.report(successor, StepResult::Kept);
        assert!(!is_granted(&fleet, pet, TERMS), "it is off the roster");
    }

    #[test]
    fn a_machine_is_released_only_where_its_group_has_no_lease_any_more() {
        let (mut fleet, pet) = fleet(Some(TERMS));
        fleet.ok(Command::BindLease {
            machine: pet,
            terms: Some(TERMS),
        });
        assert_eq!(needed_bond(&fleet.state, pet, None), None);
        let refused = may_have(&fleet.state, pet, None);
        assert!(matches!(
            refused,
            Verdict::Answer(LeaseAnswer::Refused { .. })
        ));
        let (fleet, pet) = self::fleet(None);
        assert_eq!(needed_bond(&fleet.state, pet, Some(TERMS)), None);
        let free = may_have(&fleet.state, pet, None);
        assert!(matches!(free, Verdict::Answer(LeaseAnswer::Released)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_leader_granted_is_over_a_lease_after_the_new_one_began() {
        let pet = MachineId::new(7).expect("not zero");
        let leases = Leases::new();
        assert_eq!(
            leases.left(pet, TERMS),
            Duration::from_millis(TERMS.over_ms())
        );
        tokio::time::advance(Duration::from_millis(TERMS.over_ms() - 1)).await;
        assert!(!leases.left(pet, TERMS).is_zero());
        lock(&leases.book).granted.insert(pet, Instant::now());
        tokio::time::advance(Duration::from_secs(13)).await;
        assert!(!leases.left(pet, TERMS).is_zero());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(leases.left(pet, TERMS).is_zero());
    }

    #[test]
    fn what_was_granted_is_known_for_as_long_as_the_machine_is_on_the_roster() {
        let [stays, goes] = [7, 8].map(|id| MachineId::new(id).expect("not zero"));
        let leases = Leases::new();
        let request = LeaseRequest {
            terms: Some(TERMS),
            log: LogGeneration::FIRST,
            sent_ms: 5,
        };
        for machine in [stays, goes] {
            let said = leases.grant(|| Verdict::Grant, machine, request, Instant::now());
            assert_eq!(said, LeaseAnswer::Granted);
        }
        leases.prune(|machine| machine == stays);
        assert!(leases.holds(stays, TERMS) && !leases.holds(goes, TERMS));
        let book = lock(&leases.book);
        assert_eq!((book.granted.len(), book.drifts.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_waits_for_any_more_is_left_out() {
        let desk = LeaseDesk::default();
        let mut questions = desk.open();
        let pet = MachineId::new(7).expect("not zero");
        let request = LeaseRequest {
            terms: Some(TERMS),
            log: LogGeneration::FIRST,
            sent_ms: 5,
        };
        assert_eq!(desk.ask(pet, request).await, None, "nobody answers");
        let late = questions.recv().await.expect("asked");
        assert!(!late.is_awaited());
        let answers = async {
            let asked = questions.recv().await.expect("asked");
            assert!(asked.is_awaited());
            asked.say(LeaseAnswer::Granted);
        };
        let (said, ()) = tokio::join!(desk.ask(pet, request), answers);
        assert_eq!(said, Some(LeaseAnswer::Granted));
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_that_is_behind_what_was_confirmed_grants_nothing() {
        let replica: Replica<FleetState> = Replica::new();
        assert!(!catches_up(&replica, 1).await);
    }
}
