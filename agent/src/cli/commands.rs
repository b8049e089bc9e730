//! What each command does: ask, and show the answer.

mod agent;
mod apply;
mod dev;
mod events;
mod group;
mod hand;
mod infrakit;
mod lint;
mod meta;
mod pause;
mod reads;
mod recover;
mod replay;
mod secrets;
mod simulate;
mod writes;

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::Duration;

pub(super) use lint::Linted;
pub(super) use replay::Replayed;
pub(super) use simulate::Hunt;

pub use agent::{Agent, AgentOptions, InitOptions, Initialized, JoinOptions, Joined, Progress};

use super::args::{Cli, Command, Global};
use super::failure::{Failure, unexpected};
use super::output::Output;
use super::{ask, show};
use crate::api::client::Client;
use crate::api::types::{Deed, Done, Request, Response};

/// Everything a command needs.
struct Context<'a> {
    global: &'a Global,
    out: Output,
    agent: &'a dyn Agent,
}

impl Context<'_> {
    async fn client(&self) -> Result<Client, Failure> {
        ask::client(self.global).await
    }

    async fn call(&self, request: &Request) -> Result<Response, Failure> {
        Ok(self.client().await?.call(request).await?)
    }

    /// Sends a request that only needs doing, and says that it is done.
    async fn order(&self, request: &Request) -> Result<(), Failure> {
        match self.call(request).await? {
            Response::Done(done) => self.out.either(&done, |Done { detail }, _| detail.clone()),
            _ => Err(unexpected()),
        }
    }

    /// The time that was so long ago, in milliseconds since 1970.
    fn since_ms(&self, ago: Duration) -> u64 {
        self.out.now_ms.saturating_sub(millis(ago))
    }

    /// Asks a person, unless `yes` is the answer already. Where nobody sits at a terminal the answer is no.
    fn confirm_unless(&self, yes: bool, question: &str) -> Result<(), Failure> {
        if yes {
            Ok(())
        } else if io::stdin().is_terminal() {
            confirm(question)
        } else {
            Err(unasked(question))
        }
    }
}

fn unasked(question: &str) -> Failure {
    Failure::usage(
        format!("nobody sits here to be asked: {question}"),
        "say --yes where that is meant",
    )
}

/// Runs a command.
///
/// # Errors
/// Why it didn't do what it was asked to.
pub(super) async fn run(cli: Cli, out: Output, agent: &dyn Agent) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    let context = Context {
        global: &global,
        out,
        agent,
    };
    match command {
        Command::Dev(args) => dev::run(&context, args).await,
        Command::Init(args) => agent::init(&context, args).await,
        Command::Join(args) => agent::join(&context, args).await,
        Command::Agent(args) => agent::run(&context, args).await,
        Command::Leave { yes } => writes::leave(&context, yes).await,
        Command::Token(command) => secrets::token(&context, command).await,
        Command::Operator(command) => secrets::operator(&context, command).await,
        Command::Apply(args) => apply::run(&context, args).await,
        Command::Group(command) => group::run(&context, command).await,
        Command::Infrakit(command) => infrakit::run(&context, command).await,
        Command::Lint(args) => lint::run(&context, &args),
        Command::Replay(args) => replay::run(&context, &args),
        Command::Simulate(args) => simulate::run(&context, &args),
        Command::Status(args) => reads::status(&context, args).await,
        Command::Members => reads::members(&context).await,
        Command::Machine {
            name,
            last_words: false,
        } => reads::machine(&context, name).await,
        Command::Machine {
            name,
            last_words: true,
        } => reads::last_words(&context, name).await,
        Command::Coordinators => reads::coordinators(&context).await,
        Command::Health => reads::health(&context).await,
        Command::Explain { subject } => reads::explain(&context, subject).await,
        Command::Decisions(args) => reads::decisions(&context, args).await,
        Command::Report(args) => reads::report(&context, args).await,
        Command::Events(args) => events::run(&context, args).await,
        Command::Approve { subject } => context.order(&Request::Approve { subject }).await,
        Command::Pause(args) => pause::pause(&context, args).await,
        Command::Resume(args) => pause::resume(&context, args).await,
        Command::Restart(args) => hand::order(&context, Deed::Restart, args).await,
        Command::Reboot(args) => hand::order(&context, Deed::Reboot, args).await,
        Command::PowerCycle(args) => hand::order(&context, Deed::PowerCycle, args).await,
        Command::Reimage(args) => hand::order(&context, Deed::Reimage, args).await,
        Command::Drain(args) => hand::order(&context, Deed::Drain, args).await,
        Command::Replace(args) => hand::order(&context, Deed::Replace, args).await,
        Command::Cancel { subject } => context.order(&Request::Cancel { subject }).await,
        Command::Order { order } => hand::show_one(&context, order).await,
        Command::Cordon { name, reason } => context.order(&Request::Cordon { name, reason }).await,
        Command::Uncordon { name } => context.order(&Request::Uncordon { name }).await,
        Command::Release { name } => context.order(&Request::Release { name }).await,
        Command::Revoke { name } => context.order(&Request::MachineRevoke { name }).await,
        Command::Forget { name, yes } => writes::forget(&context, name, yes).await,
        Command::Recover(args) => recover::run(&context, args).await,
        Command::LogLevel { filter } => writes::log_level(&context, filter).await,
        Command::Metrics => reads::metrics(&context).await,
        Command::Completions { shell } => meta::completions(shell),
        Command::Man { out } => meta::man(out.as_deref()),
        // Handled before there is a second thread; see `main`.
        Command::Hidden(_) => Ok(()),
    }
}

fn millis(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}

/// Asks on standard error, so that standard output stays clean, and takes only a clear yes for one.
fn confirm(question: &str) -> Result<(), Failure> {
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    // A line of a megabyte is no answer; a person's fits well into this.
    io::Read::take(io::stdin().lock(), 100).read_line(&mut answer)?;
    if answer.is_empty() {
        // The end of the input, which left the cursor behind the question.
        eprintln!();
        return Err(unasked(question));
    }
    if is_yes(&answer) {
        Ok(())
    } else {
        Err(Failure::Declined)
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(
            ["y", "Y\n", " yes \n", "YES"]
                .iter()
                .all(|answer| is_yes(answer))
        );
        assert!(
            ["", "\n", "n", "yeah", "yy", "1"]
                .iter()
                .all(|answer| !is_yes(answer))
        );
    }
}
