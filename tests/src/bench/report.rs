//! The figures as a table for people and as JSON for programs.

use serde_json::{Map, Value, json};

use super::figures::{Figures, METRICS, Target};

/// The figures of both systems at one size.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// How many agents.
    pub size: u32,
    /// muster's figures.
    pub muster: Figures,
    /// Serf's, where it was measured.
    pub serf: Option<Figures>,
}

/// The figures as a Markdown table per size.
pub fn table(rows: &[&Row]) -> String {
    let mut out = String::new();
    for row in rows {
        out.push_str(&format!("\n{} agents\n\n", row.size));
        out.push_str("| | muster | serf | ratio | target |\n|---|---:|---:|---:|---|\n");
        for metric in METRICS {
            let ours = row.muster.get(metric.name);
            let serf = row.serf.as_ref().and_then(|serf| serf.get(metric.name));
            if ours.is_none() && serf.is_none() {
                continue;
            }
            let ratio = ours
                .zip(serf)
                .filter(|(_, serf)| *serf > 0.0)
                .map(|(ours, serf)| ours / serf);
            let met = match ours.and_then(|ours| metric.target.is_met(ours, serf)) {
                Some(true) => ", met",
                Some(false) => ", MISSED",
                None => "",
            };
            let target = match metric.target {
                Target::None => String::new(),
                Target::Most(limit) => format!("<= {}{met}", number(limit)),
                Target::Ratio(limit) => format!("<= {}x{met}", number(limit)),
            };
            let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
            let what = metric.what;
            let (ours, serf, ratio) = (cell(ours), cell(serf), cell(ratio));
            out.push_str(&format!(
                "| {what} | {ours} | {serf} | {ratio} | {target} |\n"
            ));
        }
    }
    out
}

/// The figures as JSON: a list with an object per size.
pub fn json(rows: &[Row]) -> Value {
    let figures = |figures: &Figures| {
        let mut map = Map::new();
        for metric in METRICS {
            if let (Some(median), Some(worst)) =
                (figures.get(metric.name), figures.worst(metric.name))
            {
                map.insert(
                    metric.name.to_owned(),
                    json!({ "median": median, "worst": worst }),
                );
            }
        }
        map
    };
    let row = |row: &Row| {
        json!({
            "agents": row.size,
            "muster": figures(&row.muster),
            "serf": row.serf.as_ref().map(figures),
        })
    };
    rows.iter().map(row).collect()
}

/// Three digits that matter.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_was_reached() {
        let mut row = Row {
            size: 10,
            ..Row::default()
        };
        let mut serf = Figures::default();
        row.muster.add("kill_all_s", 0.4);
        serf.add("kill_all_s", 4.0);
        row.muster.add("kill_whole_s", 12.0);
        row.serf = Some(serf);
        let table = table(&[&row]);
        assert!(
            table.contains("| kill -9 until all know, s | 0.40 | 4.00 | 0.10 | <= 0.33x, met |"),
            "{table}"
        );
        assert!(
            table.contains("| 12.0 | - | - | <= 10.0, MISSED |"),
            "{table}"
        );
        assert!(
            !table.contains("memory"),
            "what was not measured is not shown: {table}"
        );
        assert_eq!(json(&[row])[0]["muster"]["kill_all_s"]["median"], 0.4);
    }
}
