//! The `muster` command.
//!
//! [`main`] is all of it: parse, do, say how it ended. What the commands print comes from pure functions in `show`,
//! what they ask for is in [`crate::api`].

mod args;
mod ask;
mod commands;
pub(crate) mod failure;
pub(crate) mod grid;
pub(crate) mod output;
mod remote;
pub(crate) mod show;
pub(crate) mod signals;
pub(crate) mod time;

#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

pub(crate) use args::Cli;
pub use commands::{Agent, AgentOptions, InitOptions, Initialized, JoinOptions, Joined, Progress};

use args::{Command, HiddenCommand};
use failure::Failure;
use output::{Output, Paint};

/// The first of these arguments that `muster agent` does not know.
pub(crate) fn unknown_to_agents<'a>(args: impl Iterator<Item = &'a str>) -> Option<String> {
    let words = ["muster", "agent", "--config", "agent.toml"];
    let error = Cli::try_parse_from(words.into_iter().chain(args)).err()?;
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(argument) => Some(argument.clone()),
        _ => None,
    }
}

/// Runs the command that the process was started with. `agent` is what `init`, `join` and `agent` call.
///
/// Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 cannot reach the node, 4 not healthy, 64 bad configuration.
pub fn main(agent: &dyn Agent) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misread(&error),
    };
    if let Command::Hidden(command) = &cli.command {
        // Becomes another program, so it comes before anything that starts threads.
        return match command {
            HiddenCommand::ProcessLaunch { dir } => muster_provisioners::process::launch(dir),
            HiddenCommand::LeaseGuard { dir } => crate::guard::run(dir),
            HiddenCommand::LeaseExec { parent } => crate::guard::become_workload(*parent),
        };
    }
    let out = Output::new(cli.global.json, cli.global.color);
    let paint = Paint::new(cli.global.color, std::io::stderr().is_terminal());
    match block_on(cli, out, agent) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.report(out.json, paint));
            failure.exit_code().into()
        }
    }
}

/// What there is to say instead of doing anything: help, or that the command line makes no sense.
fn misread(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os()
        .take_while(|word| word != "--")
        .any(|word| word == "--json");
    if json && error.use_stderr() {
        let failure = Failure::from(error);
        eprintln!("{}", failure.report(true, Paint::default()));
        return failure.exit_code().into();
    }
    // Help goes to standard output, and is no failure.
    error.exit()
}

/// One thread is enough for every command, and an idle agent must not wake more than one.
fn block_on(cli: Cli, out: Output, agent: &dyn Agent) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(commands::run(cli, out, agent))
}
