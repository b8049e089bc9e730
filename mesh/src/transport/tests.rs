//! Real endpoints on loopback, talking to each other.

mod support;

mod exchange;
mod identity;
