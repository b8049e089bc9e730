//! Answers about fleets that were made by real commands.

mod following;
mod glance;
mod issuing;
mod last_words;
mod odd;
mod office;
mod quarantine;
mod reads;
mod reasons;
mod report;
mod scene;
mod writes;
