//! Real endpoints on loopback, talking to each other.

mod support;

mod crowds;
mod exchange;
mod families;
mod hostile;
mod identity;
mod joining;
mod lifecycle;
mod probing;
mod restart;
mod rogue;
