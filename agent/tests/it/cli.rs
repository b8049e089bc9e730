//! The command line, asked of a node that only answers from a script.

mod applying;
mod asking;
mod finding;
pub(crate) mod node;
mod secrets;
mod terminal;
mod trying;
mod words;
