//! The repository's own rules, and scenarios over real processes. One binary, so that there is one thing to link.

mod backends;
mod fleet;
mod network;
mod rules;
