//! Commands about the command itself.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;

use super::Failure;
use crate::cli::args::Cli;

pub(super) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "muster", &mut script);
    print(&script)
}

/// The page of the whole command, or one page per command as files.
pub(super) fn man(out: Option<&Path>) -> Result<(), Failure> {
    if let Some(directory) = out {
        let written = std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
        return written.map_err(|error| {
            Failure::other(format!(
                "the pages can't be written to {}: {error}",
                directory.display()
            ))
        });
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    print(&page)
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}
