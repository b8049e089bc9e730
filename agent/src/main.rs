//! The `muster` command and agent.

use std::process::ExitCode;

use muster::node::ThisMachine;
use muster::{cli, first_process};

fn main() -> ExitCode {
    if first_process::is_first() {
        return first_process::run();
    }
    cli::main(&ThisMachine)
}
