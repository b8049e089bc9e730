//! Orders by hand: `muster reboot`, `muster drain` and their like.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::duration;

/// The names of all rules.
fn rules() -> PossibleValuesParser {
    PossibleValuesParser::new(crate::fleet::Rule::ORDER.map(|rule| rule.word()))
}

/// What every order by hand understands.
#[derive(Debug, Args)]
pub(crate) struct HandArgs {
    /// The machine's name or machine ID.
    pub(crate) name: String,
    /// Why, for those who come later.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    /// For how long the order stands while a rule holds it: 10m by default, a day at most.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) period: Option<Duration>,
    /// A rule that is not to stop it; more than one may be named. That is kept on record.
    #[arg(long, value_name = "RULE", value_parser = rules(), hide_possible_values = true)]
    pub(crate) force: Vec<String>,
    /// Wait until it is over, and say how it goes. Exits with 1 unless it was carried out.
    #[arg(long)]
    pub(crate) wait: bool,
}
