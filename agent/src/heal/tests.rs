//! What is decided in which situation.

mod diagnosis;
mod healing;
mod histories;
mod holding;
mod scaling;
mod table;
