//! Keeping this machine's lease alive, and its workload running as long as that lasts.
//!
//! The keeper renews; the guard holds the deadline. So nothing has to be done here for a workload to be stopped in time:
//! it is enough that nothing is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use muster_mesh::clock::boot_ms;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::wire::{LEASE, LeaseAnswer, LeaseRequest};
use crate::fleet::LeaseTerms;
use crate::guard::{Charge, Guard, GuardError, Standing};
use crate::node::refounding::granting_log;
use crate::node::route::{RouteError, ask_leader};
use crate::node::shared::Shared;
use crate::node::workload::{self, Bound};

/// The pause before a lease is asked for again that was not given.
const RETRY: Duration = Duration::from_secs(1);

/// How often it is looked whether this machine's workload has got to run under a lease.
const FREE_PERIOD: Duration = Duration::from_secs(30);

/// How often it is looked whether a guard that stops a workload is done.
const STOPPING_PERIOD: Duration = Duration::from_millis(50);

/// What part of a lease must be left, besides the time to stop, for a workload to be started under it, in milliseconds.
const WORTH_STARTING_MS: u64 = 1000;

/// How this machine stands with its lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::node) enum LeaseState {
    /// Its workload runs without one.
    #[default]
    Free,
    /// It has one.
    Held,
    /// It has none, or its workload could not be started or stopped, and why.
    Lost(String),
}

/// What the rest of the agent knows of the lease.
#[derive(Debug, Default)]
pub(in crate::node) struct Leased {
    state: watch::Sender<LeaseState>,
    /// Whether somebody has the workload stopped, for it to be started anew: until it is, none is started.
    stopping: AtomicBool,
    /// The workload has been stopped for that.
    stopped: Notify,
}

impl Leased {
    /// How this machine stands with its lease.
    pub(in crate::node) fn watch(&self) -> watch::Receiver<LeaseState> {
        self.state.subscribe()
    }

    /// Whether the workload runs as it should, as far as leases go.
    pub(in crate::node) fn may_run(&self) -> bool {
        !matches!(*self.state.borrow(), LeaseState::Lost(_))
    }
}

/// Keeps the lease until the agent stops. The guard is left as it is then: an agent that comes back in time goes on with it.
pub(in crate::node) async fn run(shared: Arc<Shared>) {
    let guard = Guard::in_directory(shared.state_dir.path());
    let mut applied = shared.replica.watch();
    let mut keeper = Keeper {
        shared: Arc::clone(&shared),
        guard,
        until_ms: 0,
        reported: String::new(),
        unread: String::new(),
        known: None,
    };
    loop {
        let wait = tokio::select! {
            () = shared.stop.cancelled() => return,
            wait = keeper.step() => wait,
        };
        let free = *shared.leased.state.borrow() == LeaseState::Free;
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = applied.changed(), if free => if changed.is_err() { return },
            () = shared.leased.stopped.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Stops the workload of this machine and has it started again, if it runs under a lease, or is kept running by the agent; `None`
/// if neither is so.
///
/// # Errors
/// Why it does not run again.
pub(in crate::node) async fn restart(
    shared: &Shared,
    within: Duration,
) -> Option<Result<(), String>> {
    let kept = workload::bind(shared).is_some_and(|bound| bound.kept);
    if !kept && *shared.leased.state.borrow() == LeaseState::Free {
        return None;
    }
    let guard = Guard::in_directory(shared.state_dir.path());
    shared.leased.stopping.store(true, Ordering::Relaxed);
    let told = guard.stop();
    let end = Instant::now() + within;
    let stopped = match told {
        Ok(()) => wait(&guard, false, end).await,
        Err(error) => Err(error.to_string()),
    };
    shared.leased.stopping.store(false, Ordering::Relaxed);
    shared.leased.stopped.notify_one();
    if let Err(why) = stopped {
        return Some(Err(why));
    }
    let started = wait(&guard, true, end).await;
    Some(started.map_err(|why| match &*shared.leased.state.borrow() {
        LeaseState::Lost(why) => why.clone(),
        _ => why,
    }))
}

/// Waits until a guard runs, or runs no more.
async fn wait(guard: &Guard, runs: bool, end: Instant) -> Result<(), String> {
    while Instant::now() < end {
        if guard.runs().map_err(|error| error.to_string())? == runs {
            return Ok(());
        }
        tokio::time::sleep(STOPPING_PERIOD).await;
    }
    let what = if runs { "started again" } else { "stopped" };
    Err(format!("its workload was not {what} in time"))
}

struct Keeper {
    shared: Arc<Shared>,
    guard: Guard,
    /// Until when the lease is good, in milliseconds since the boot; 0 where there never was one in this life.
    until_ms: u64,
    /// What was last said in the log.
    reported: String,
    /// What was last said there of a guard's file that can't be read.
    unread: String,
    /// What that file said when it was read last.
    known: Option<Standing>,
}

impl Keeper {
    /// Does what is to be done now, and says after how long to look again.
    async fn step(&mut self) -> Duration {
        // Without a group it has no terms, and asks to be released; who is off the roster is told to stop.
        let bound = workload::bind(&self.shared);
        let terms = bound.as_ref().and_then(|bound| bound.lease);
        let promised = bound.as_ref().is_some_and(|bound| bound.bound);
        if terms.is_none() && !promised && !self.guard.is_bound() {
            self.publish(LeaseState::Free);
            return match bound.filter(|bound| bound.kept) {
                Some(bound) => self.keep_free(&bound).await,
                None => FREE_PERIOD,
            };
        }
        match self.keep(bound.as_ref(), terms).await {
            Ok(wait) => wait,
            Err(error) => {
                self.publish(LeaseState::Lost(error.to_string()));
                RETRY
            }
        }
    }

    async fn keep(
        &mut self,
        bound: Option<&Bound>,
        terms: Option<LeaseTerms>,
    ) -> Result<Duration, GuardError> {
        let runs = self.guard.runs()?;
        let standing = self.standing()?;
        if let Some(standing) = standing.as_ref().filter(|_| runs) {
            self.until_ms = self.until_ms.max(standing.until_ms);
        }
        if terms.is_some() && runs && standing.is_none() {
            // It was released, or nobody knows: a promise must not rest on a guard that may hold no deadline.
            self.guard.stop()?;
            self.publish(LeaseState::Lost(
                "its workload is stopped, to be started under a lease".to_owned(),
            ));
            return Ok(RETRY);
        }
        if let (Some(bound), Some(terms)) = (bound, terms)
            && !runs
            && !self.guard.has_stopped()
        {
            // Whatever runs, runs unguarded: nothing is promised before it is known to be stopped.
            self.clear(bound, terms).await?;
            if !self.guard.has_stopped() {
                self.publish(LeaseState::Lost(
                    "its workload could not be stopped".to_owned(),
                ));
                return Ok(RETRY);
            }
        }
        let sent_ms = boot_ms();
        let log = granting_log(&self.shared).await;
        let request = LeaseRequest {
            terms,
            log,
            sent_ms,
        };
        let patience = request.patience();
        let body = Bytes::from(request.encode());
        let answer = ask_leader(&self.shared, LEASE, body, patience).await;
        let answer = answer.map(|bytes| LeaseAnswer::decode(&bytes));
        match (answer, bound.zip(terms)) {
            (Ok(Some(LeaseAnswer::Granted)), Some((bound, terms))) => {
                self.until_ms = sent_ms.saturating_add(terms.lease_ms);
                self.carry_on(bound, terms).await?;
                let next_ms = sent_ms.saturating_add(terms.renew_ms());
                Ok(Duration::from_millis(next_ms.saturating_sub(boot_ms())))
            }
            (Ok(Some(LeaseAnswer::Released)), None) => {
                self.release(bound).await?;
                Ok(FREE_PERIOD)
            }
            (Ok(Some(LeaseAnswer::Refused { why, stop })), _) => {
                if stop && runs {
                    tracing::warn!(why, "told to stop the workload");
                    self.guard.stop()?;
                }
                self.go_without(terms, &why);
                Ok(RETRY)
            }
            (Ok(_), _) => {
                self.go_without(terms, "the leader's answer was none to this question");
                Ok(RETRY)
            }
            (Err(error), _) => {
                self.go_without(terms, &said(&error));
                Ok(RETRY)
            }
        }
    }

    /// What the guard's file says. One that makes no sense says nothing, and is written anew by the next guard. While it
    /// can't be read, what it said before goes on to hold: the guard has the deadline all the same.
    ///
    /// # Errors
    /// When it can't be read, and has not been in this life. Then nothing is begun, and nothing stopped that runs.
    fn standing(&mut self) -> Result<Option<Standing>, GuardError> {
        let error = match self.guard.standing() {
            Ok(standing) => {
                self.known.clone_from(&standing);
                return Ok(standing);
            }
            Err(error) => error,
        };
        let said = error.to_string();
        if self.unread != said {
            tracing::error!(%error, "what the lease's guard has written is no use");
            self.unread = said;
        }
        if error.is_damage() {
            self.known = None;
            return Ok(None);
        }
        self.known.clone().map(Some).ok_or(error)
    }

    /// The lease is good: the workload goes on, or is started.
    async fn carry_on(&mut self, bound: &Bound, terms: LeaseTerms) -> Result<(), GuardError> {
        if self.guard.runs()? {
            self.guard.extend(self.until_ms, terms.stop_ms)?;
            self.publish(LeaseState::Held);
            return Ok(());
        }
        let worth_ms = boot_ms() + terms.stop_ms + WORTH_STARTING_MS;
        let awaited = self.shared.leased.stopping.load(Ordering::Relaxed);
        if self.guard.has_stopped() && self.until_ms > worth_ms && !awaited {
            self.guard
                .start(&charge(bound, terms, self.until_ms))
                .await?;
            tracing::info!("the workload is started under its lease");
            self.publish(LeaseState::Held);
        }
        Ok(())
    }

    /// Runs a guard that only stops what may be there, and waits until it is done.
    async fn clear(&self, bound: &Bound, terms: LeaseTerms) -> Result<(), GuardError> {
        self.guard.start(&charge(bound, terms, 0)).await?;
        // It gives itself the time to stop; as long again is for a machine that is busy.
        let end = Instant::now() + 2 * Duration::from_millis(terms.stop_ms.max(1000));
        while self.guard.runs()? && Instant::now() < end {
            tokio::time::sleep(STOPPING_PERIOD).await;
        }
        Ok(())
    }

    /// The agent keeps the workload running without a lease, and says after how long to look again.
    async fn keep_free(&mut self, bound: &Bound) -> Duration {
        let stopping = self.shared.leased.stopping.load(Ordering::Relaxed);
        let runs = match self.guard.runs() {
            Ok(false) if !stopping => self.start_free(bound).await,
            other => other.map(|_| ()),
        };
        match runs {
            Ok(()) => FREE_PERIOD,
            Err(error) => {
                tracing::error!(%error, "the workload was not started");
                RETRY
            }
        }
    }

    /// Starts the workload without an end, and without a promise.
    async fn start_free(&self, bound: &Bound) -> Result<(), GuardError> {
        let terms = LeaseTerms {
            lease_ms: u64::MAX,
            stop_ms: crate::fleet::STOP_MS,
        };
        self.guard.start(&charge(bound, terms, u64::MAX)).await?;
        self.guard.release()
    }

    /// The workload may run without a lease from now on.
    async fn release(&mut self, bound: Option<&Bound>) -> Result<(), GuardError> {
        if let Some(bound) = bound.filter(|bound| bound.can_start())
            && !self.guard.runs()?
        {
            self.start_free(bound).await?;
        } else {
            self.guard.release()?;
        }
        tracing::info!("the workload runs without a lease from now on");
        self.publish(LeaseState::Free);
        Ok(())
    }

    /// There is no new lease. The old one may be good for a while.
    fn go_without(&mut self, terms: Option<LeaseTerms>, why: &str) {
        let stop_ms = terms.map_or(0, |terms| terms.stop_ms);
        if boot_ms().saturating_add(stop_ms) < self.until_ms {
            tracing::debug!(why, "the lease was not renewed");
            return;
        }
        self.publish(LeaseState::Lost(why.to_owned()));
    }

    /// Tells the rest of the agent how the machine stands, and the log when that is news.
    fn publish(&mut self, state: LeaseState) {
        let said = format!("{state:?}");
        if said != self.reported {
            match &state {
                LeaseState::Lost(why) => {
                    tracing::error!(why, "this machine has no lease; its workload does not run");
                }
                LeaseState::Held => tracing::info!("this machine has its lease"),
                LeaseState::Free => {}
            }
            self.reported = said;
        }
        self.shared.leased.state.send_if_modified(|before| {
            let news = *before != state;
            *before = state;
            news
        });
    }
}

fn charge(bound: &Bound, terms: LeaseTerms, until_ms: u64) -> Charge {
    Charge {
        flavor: bound.template.flavor.clone(),
        allocation: bound.allocation.clone(),
        workload: bound.workload.clone(),
        terms,
        until_ms,
    }
}

/// A sentence that stays the same while nothing changes.
fn said(error: &RouteError) -> String {
    match error {
        RouteError::NoLeader(_) => {
            "no coordinator leads, as far as this machine can see".to_owned()
        }
        error => error.to_string(),
    }
}
