//! What is decided in which situation.

mod adopting;
mod approving;
mod correlation;
mod diagnosis;
mod drains;
mod ensembles;
mod evidence;
mod fencing;
mod hand;
mod healing;
mod histories;
mod holding;
mod ladder;
mod leaving;
mod mutation;
mod observing;
mod orphans;
mod pausing;
mod returns;
mod scaling;
mod table;
mod trials;
mod turning;
