//! What was measured, and what it should be.

use std::collections::BTreeMap;

/// The figures of one system at one size, by metric.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    values: BTreeMap<&'static str, Vec<f64>>,
}

/// One thing that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in JSON, with the unit last.
    pub name: &'static str,
    /// What it is, for the table.
    pub what: &'static str,
    /// What muster shall reach.
    pub target: Target,
}

/// What muster shall reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// Nothing has been promised.
    None,
    /// At most this part of Serf's figure.
    Ratio(f64),
    /// At most this.
    Most(f64),
}

const fn metric(name: &'static str, what: &'static str, target: Target) -> Metric {
    Metric { name, what, target }
}

/// All metrics, in the order of the table.
pub const METRICS: [Metric; 30] = [
    metric(
        "resident_mib",
        "resident memory of an idle agent, MiB",
        Target::Ratio(0.75),
    ),
    metric(
        "proportional_mib",
        "proportional memory of an idle agent, MiB",
        Target::None,
    ),
    metric(
        "coordinator_resident_mib",
        "resident memory of a coordinator, MiB",
        Target::None,
    ),
    metric(
        "cpu_s_per_min",
        "CPU of an idle agent, s/min",
        Target::Ratio(0.5),
    ),
    metric(
        "coordinator_cpu_s_per_min",
        "CPU of an idle coordinator, s/min",
        Target::None,
    ),
    metric(
        "packets_per_s",
        "packets of an idle agent, 1/s",
        Target::None,
    ),
    metric(
        "bytes_per_s",
        "traffic of an idle agent, B/s",
        Target::Ratio(1.5),
    ),
    metric(
        "kill_first_s",
        "kill -9 until the first knows, s",
        Target::None,
    ),
    metric(
        "kill_all_s",
        "kill -9 until all know, s",
        Target::Ratio(1.0 / 3.0),
    ),
    metric(
        "kill_ordered_s",
        "kill -9 until the replacement is ordered, s",
        Target::None,
    ),
    metric(
        "kill_whole_s",
        "kill -9 until the group is whole, s",
        Target::Most(10.0),
    ),
    metric(
        "leader_first_s",
        "kill -9 of the leader until the first knows, s",
        Target::None,
    ),
    metric(
        "leader_all_s",
        "kill -9 of the leader until all know, s",
        Target::None,
    ),
    metric(
        "leader_ordered_s",
        "kill -9 of the leader until ordered, s",
        Target::None,
    ),
    metric(
        "leader_whole_s",
        "kill -9 of the leader until whole, s",
        Target::Most(20.0),
    ),
    metric(
        "silent_first_s",
        "silent death until the first knows, s",
        Target::None,
    ),
    metric(
        "silent_all_s",
        "silent death until all know, s",
        Target::Ratio(0.5),
    ),
    metric(
        "explain_s",
        "the slowest survivor's `explain`, decider and half of the coordinators dead, s",
        Target::Most(1.0),
    ),
    metric(
        "pet_start_s",
        "a pet's machine freezes until its successor runs, without proof, s",
        Target::Most(20.0),
    ),
    metric(
        "pet_leader_start_s",
        "the same with the leader's death at that moment, s",
        Target::Most(20.0),
    ),
    metric(
        "churn_packets_per_s",
        "packets with health changing every 5 s, 1/s",
        Target::None,
    ),
    metric(
        "churn_bytes_per_s",
        "traffic with health changing every 5 s, B/s",
        Target::Ratio(1.0 / 3.0),
    ),
    metric(
        "churn_cpu_s_per_min",
        "CPU with health changing every 5 s, s/min",
        Target::Ratio(0.125),
    ),
    metric(
        "churn_commands_cpu_s_per_min",
        "the same of the health commands that it runs, s/min",
        Target::None,
    ),
    metric(
        "loss10_bytes_per_s",
        "traffic at 10 % loss, B/s",
        Target::Ratio(3.0),
    ),
    metric(
        "loss10_packets_per_s",
        "packets at 10 % loss, 1/s",
        Target::None,
    ),
    metric(
        "loss10_false_deaths",
        "healthy machines declared down at 10 % loss",
        Target::Most(0.0),
    ),
    metric(
        "loss25_bytes_per_s",
        "traffic at 25 % loss, B/s",
        Target::None,
    ),
    metric(
        "loss25_packets_per_s",
        "packets at 25 % loss, 1/s",
        Target::None,
    ),
    metric(
        "loss25_false_deaths",
        "healthy machines declared down at 25 % loss",
        Target::Ratio(1.0),
    ),
];

impl Figures {
    /// Adds a measurement.
    ///
    /// # Panics
    ///
    /// When there is no such metric.
    pub fn add(&mut self, name: &str, value: f64) {
        let metric = METRICS.iter().find(|metric| metric.name == name);
        let name = metric.unwrap_or_else(|| panic!("{name} is no metric")).name;
        self.values.entry(name).or_default().push(value);
    }

    /// The median of a metric's measurements.
    pub fn get(&self, name: &str) -> Option<f64> {
        let mut values = self.values.get(name)?.clone();
        median(&mut values)
    }

    /// The worst of a metric's measurements.
    pub fn worst(&self, name: &str) -> Option<f64> {
        self.values.get(name)?.iter().copied().reduce(f64::max)
    }
}

/// The middle of some values; the mean of the two in the middle for an even number.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle)?;
    Some(if values.len().is_multiple_of(2) {
        (values[middle - 1] + upper) / 2.0
    } else {
        *upper
    })
}

impl Target {
    /// Whether a figure reaches it, given Serf's; `None` where that cannot be told.
    pub fn is_met(self, ours: f64, serf: Option<f64>) -> Option<bool> {
        match self {
            Self::None => None,
            Self::Most(limit) => Some(ours <= limit),
            Self::Ratio(limit) => serf.map(|serf| ours <= serf * limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_targets() {
        let mut figures = Figures::default();
        assert_eq!(figures.get("kill_all_s"), None);
        for value in [9.0, 1.0, 2.0] {
            figures.add("kill_all_s", value);
        }
        assert_eq!(
            (figures.get("kill_all_s"), figures.worst("kill_all_s")),
            (Some(2.0), Some(9.0))
        );
        assert_eq!(median(&mut [1.0, 4.0]), Some(2.5));
        assert_eq!(Target::Ratio(0.5).is_met(1.0, Some(2.0)), Some(true));
        assert_eq!(Target::Ratio(0.5).is_met(1.1, Some(2.0)), Some(false));
        assert_eq!(Target::Ratio(0.5).is_met(1.0, None), None);
        assert_eq!(Target::Most(0.0).is_met(0.0, None), Some(true));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
    }
}
