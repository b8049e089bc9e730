//! Meshes made by hand on this machine: real agents, each with a directory and a port of its own on the loopback.

mod certificates;
mod joining;
mod machine;
mod refounding;
