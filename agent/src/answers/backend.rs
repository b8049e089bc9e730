//! The API's back-end: who answers what.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::desk::Desk;
use super::explain::explain;
use super::follow::follow;
use super::order::order;
use super::snapshot::{QuorumView, Snapshot};
use super::status::status;
use super::{
    access, coordinators, decisions, events, group, hand, health, last_words, machine, members,
    plan, report, specs,
};
use crate::api::types::{
    Done, EventRow, EventsRequest, LogFilter, MemberRow, MetricsText, RecoverOrder,
};
use crate::api::{ApiError, Backend, Caller, ErrorKind, Request, Response};
use crate::fleet::Text;
use crate::spec::Registries;

/// For how long an order is tried again on a machine that takes itself for the leader and can commit nothing: an election
/// takes a few seconds.
const TRIED_HERE: Duration = Duration::from_secs(10);

/// The pause before the next try.
const TRIED_AGAIN: Duration = Duration::from_millis(250);

/// Answers what people ask, from what a node lends.
#[derive(Debug)]
pub struct Answers<D> {
    desk: Arc<D>,
    registries: Registries,
}

impl<D: Desk> Answers<D> {
    /// Answers from `desk`; specs are checked against `registries` before anything is stored.
    pub fn new(desk: Arc<D>, registries: Registries) -> Self {
        Self { desk, registries }
    }

    /// Carries out a change of the fleet, here or at the leader.
    async fn write(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let quorum = self.desk.snapshot(|snapshot| snapshot.quorum.clone());
        if quorum.lacking {
            return Err(no_quorum(&quorum));
        }
        if let Caller::Machine { .. } = caller {
            // It was forwarded to here already. Passing it on once more might go round for ever.
            return self.write_here(caller, request).await;
        }
        let end = Instant::now() + TRIED_HERE;
        loop {
            if !self.desk.leads() {
                let passed_on = self.desk.forward(caller, &request).await;
                // It was about to lead itself.
                if !(is_leaderless(&passed_on) && self.desk.leads() && Instant::now() < end) {
                    return passed_on;
                }
            }
            // A leader that was stopped for a while goes on as one, and learns in a moment that it is none any more.
            let written = self.write_here(caller, request.clone()).await;
            if !is_leaderless(&written) || Instant::now() >= end {
                return written;
            }
            tokio::time::sleep(TRIED_AGAIN).await;
        }
    }

    /// Carries out a change of the fleet as the leader.
    async fn write_here(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        if !self.desk.leads() {
            return Err(not_leading());
        }
        order(&*self.desk, &self.registries, caller, request).await
    }

    /// Answers what only concerns this machine, and what only its transport knows.
    async fn own(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        match request {
            Request::Leave => {
                deny_machines(caller)?;
                self.desk.leave().await?;
                let name = self.desk.snapshot(|snapshot| snapshot.name.to_owned());
                Ok(Response::Done(Done {
                    detail: format!("{name} leaves the mesh for good, and stops"),
                }))
            }
            Request::LogLevel { filter } => self.log_level(caller, filter),
            Request::Recovery => {
                deny_machines(caller)?;
                Ok(Response::Recovery(Box::new(self.desk.recovery().await?)))
            }
            Request::Recover(order) => {
                deny_machines(caller)?;
                self.recover(caller, order).await
            }
            Request::Metrics => Ok(Response::Metrics(MetricsText {
                text: self.desk.metrics(),
            })),
            Request::Members => {
                let mut listed = self.desk.snapshot(members::members);
                listed.items.iter_mut().for_each(|row| self.add_rtt(row));
                Ok(Response::Members(listed))
            }
            Request::Machine { name } => {
                let mut detail = self
                    .desk
                    .snapshot(|snapshot| machine::machine(snapshot, &name))?;
                detail.member.iter_mut().for_each(|row| self.add_rtt(row));
                Ok(Response::Machine(Box::new(detail)))
            }
            Request::LastWords { name } => {
                let life = self
                    .desk
                    .snapshot(|snapshot| last_words::find(snapshot, &name))?;
                let heard = self.desk.last_words(life.machine).await;
                Ok(Response::LastWords(Box::new(self.desk.snapshot(
                    |snapshot| last_words::merge(snapshot, &life, &heard),
                ))))
            }
            Request::Events(request) => {
                let local = self.desk.local_events(0);
                Ok(Response::Events(self.desk.snapshot(|snapshot| {
                    events::events(snapshot, &local, &request)
                })))
            }
            other => self
                .desk
                .snapshot(|snapshot| read(snapshot, &self.registries, other)),
        }
    }

    /// Only for who repeats the cluster's name: a script that was meant for another one stops here.
    async fn recover(&self, caller: &Caller, order: RecoverOrder) -> Result<Response, ApiError> {
        let name = self.desk.snapshot(|snapshot| {
            let cluster = snapshot.state.cluster.as_ref();
            cluster.map(|cluster| cluster.name.to_string())
        });
        if name.as_ref() != Some(&order.cluster) {
            let name = name.unwrap_or_default();
            return Err(ApiError::invalid(format!(
                "this cluster is not called `{}`",
                order.cluster
            ))
            .remedy(format!(
                "it is called `{name}`; make sure that you ask the one you mean"
            )));
        }
        let by = Text::from(caller.to_string());
        let recovered = self.desk.recover(by, order).await?;
        Ok(Response::Recovery(Box::new(recovered)))
    }

    fn log_level(&self, caller: &Caller, filter: Option<String>) -> Result<Response, ApiError> {
        let Some(filter) = filter else {
            let filter = self.desk.log_filter();
            return Ok(Response::LogLevel(LogFilter {
                filter,
                previous: None,
            }));
        };
        deny_machines(caller)?;
        let previous = self.desk.set_log_filter(&filter).map_err(|error| {
            ApiError::invalid(error).remedy(
                "write a level such as `debug`, or directives such as `info,muster_mesh=debug`",
            )
        })?;
        let filter = self.desk.log_filter();
        Ok(Response::LogLevel(LogFilter {
            filter,
            previous: Some(previous),
        }))
    }

    fn add_rtt(&self, row: &mut MemberRow) {
        let rtt = self.desk.rtt(row.machine_id);
        row.rtt_ms = rtt.map(|rtt| rtt.as_secs_f64() * 1000.0);
    }
}

#[async_trait]
impl<D: Desk> Backend for Answers<D> {
    async fn call(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let is_own = matches!(
            request,
            Request::Leave | Request::LogLevel { .. } | Request::Recover(_)
        );
        if request.is_write() && !is_own {
            self.write(caller, request).await
        } else {
            self.own(caller, request).await
        }
    }

    async fn follow(
        &self,
        _caller: &Caller,
        request: EventsRequest,
        events: mpsc::Sender<EventRow>,
    ) -> Result<(), ApiError> {
        follow(&*self.desk, &request, events).await
    }
}

/// Answers what a snapshot says.
fn read(
    snapshot: &Snapshot<'_>,
    registries: &Registries,
    request: Request,
) -> Result<Response, ApiError> {
    Ok(match request {
        Request::Status => Response::Status(Box::new(status(snapshot)?)),
        Request::Groups => Response::Groups(group::groups(snapshot)),
        Request::Group { id } => Response::Group(Box::new(group::group(snapshot, &id)?)),
        Request::Explain { subject } => Response::Explain(Box::new(explain(snapshot, &subject)?)),
        Request::Decisions {
            machine,
            group,
            limit,
        } => Response::Decisions(decisions::decisions(
            snapshot,
            machine.as_deref(),
            group.as_deref(),
            limit,
        )?),
        Request::Report { since_ms } => {
            Response::Report(Box::new(report::report(snapshot, since_ms.unwrap_or(0))))
        }
        Request::Health => Response::Health(health::health(snapshot)),
        Request::Coordinators => Response::Coordinators(coordinators::coordinators(snapshot)),
        Request::Order { order } => Response::Order(Box::new(hand::detail(snapshot, order)?)),
        Request::PauseList => Response::Pauses(access::pauses(snapshot)),
        Request::TokenList => Response::Tokens(access::tokens(snapshot)),
        Request::OperatorList => Response::Operators(access::operators(snapshot)),
        Request::Apply(request) => {
            specs::check(&request, registries)?;
            Response::Plan(plan::apply(snapshot, &request.specs, &request.expected)?)
        }
        Request::Scale(request) => {
            Response::Plan(plan::scale(snapshot, &request.id, request.size)?)
        }
        // Everything else is answered elsewhere; getting here is a defect, and no reason to stop the agent.
        other => {
            return Err(ApiError::internal(format!(
                "no answer is known to {other:?}"
            )));
        }
    })
}

/// What stops or blinds a machine is for people to ask, not for another machine that may have been broken into.
fn deny_machines(caller: &Caller) -> Result<(), ApiError> {
    match caller {
        Caller::Machine { .. } => Err(ApiError::new(
            ErrorKind::Forbidden,
            "another machine may not ask this",
        )
        .remedy("ask on the machine itself, or with an operator's certificate")),
        Caller::Local { .. } | Caller::Operator(_) => Ok(()),
    }
}

/// Nothing can be written, and it would take until the deadline to find that out.
fn no_quorum(quorum: &QuorumView) -> ApiError {
    let message = format!("nothing can be changed: {}", quorum.detail);
    ApiError::new(ErrorKind::NoQuorum, message)
        .remedy("bring coordinators back, or wait until the fleet has replaced them; `muster coordinators` names them")
}

/// Whether nothing was done, because nobody led who could have.
fn is_leaderless(outcome: &Result<Response, ApiError>) -> bool {
    outcome
        .as_ref()
        .is_err_and(|error| error.kind == ErrorKind::NoLeader)
}

fn not_leading() -> ApiError {
    ApiError::new(ErrorKind::NoLeader, "this machine doesn't lead any more")
        .remedy("try again in a few seconds, when the new leader is known")
}
