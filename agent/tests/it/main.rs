//! The `muster` binary as people and scripts meet it.

mod cli;
mod mesh;
