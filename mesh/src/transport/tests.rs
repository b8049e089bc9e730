//! Real endpoints on loopback, talking to each other.

mod support;

mod exchange;
mod hostile;
mod identity;
mod joining;
mod lifecycle;
mod probing;
mod restart;
