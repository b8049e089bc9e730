//! The `muster` command and agent.

use std::process::ExitCode;

use muster::cli;
use muster::node::ThisMachine;

fn main() -> ExitCode {
    cli::main(&ThisMachine)
}
