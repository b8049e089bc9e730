//! What flags hold, read from words.

use std::time::Duration;

/// A cluster's name.
pub(super) fn cluster_name(text: &str) -> Result<String, String> {
    match crate::config::cluster_name_problem(text) {
        Some(problem) => Err(problem.to_owned()),
        None => Ok(text.to_owned()),
    }
}

/// The number of an order by hand.
pub(super) fn order(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix('#').unwrap_or(text);
    number.parse().map_err(|_| {
        "orders by hand have numbers; `muster status` shows those that stand".to_owned()
    })
}

/// A duration with a unit, longer than nothing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write for example 30s or 5m")),
    }
}
