//! What `muster apply` would change.

use super::super::output::{Output, Tone};
use crate::api::types::{Change, FieldChange, GroupPlan, Plan, Refusal};

/// What changes, group by group, with `+`, `-` and `~` in front.
pub(in crate::cli) fn plan(plan: &Plan, out: &Output) -> String {
    if plan.is_empty() {
        let groups = if plan.groups.len() == 1 {
            "the group is"
        } else {
            "all groups are"
        };
        return format!("nothing to change: {groups} as the spec says\n");
    }
    plan.groups
        .iter()
        .map(|group| one(group, plan.applied, out))
        .collect()
}

fn one(group: &GroupPlan, applied: bool, out: &Output) -> String {
    if let Some(refusal) = &group.refused {
        return refused(group, refusal, out);
    }
    let (sign, tone, what) = match group.change {
        Change::Create => ("+", Tone::Good, "is new".to_owned()),
        Change::Scale => ("~", Tone::Warn, "changes in size".to_owned()),
        Change::Update => {
            let next = group.revision.unwrap_or(0) + u64::from(!applied);
            ("~", Tone::Warn, format!("gets a new spec, revision {next}"))
        }
        Change::Unchanged => (" ", Tone::Dim, "stays as it is".to_owned()),
    };
    let mut lines = vec![(
        tone,
        format!("{sign} group {} ({}) {what}", group.id, group.kind),
    )];
    let mut add = |tone, text: String| lines.push((tone, text));
    if group.change == Change::Create {
        add(
            Tone::Good,
            format!(
                "    + {} {}",
                group.desired_after,
                machines(group.desired_after)
            ),
        );
    } else if group.desired_after != group.desired_before {
        let text = format!(
            "    ~ {} → {} machines",
            group.desired_before, group.desired_after
        );
        add(Tone::Warn, text);
    }
    for member in &group.members_added {
        add(Tone::Good, format!("    + {member}"));
    }
    for member in &group.members_removed {
        add(Tone::Bad, format!("    - {member}"));
    }
    for FieldChange {
        field,
        before,
        after,
    } in &group.fields
    {
        match (before.is_null(), after.is_null()) {
            (true, _) => add(Tone::Good, format!("    + {field} = {after}")),
            (_, true) => add(Tone::Bad, format!("    - {field} = {before}")),
            _ => add(Tone::Warn, format!("    ~ {field} = {before} → {after}")),
        }
    }
    for warning in &group.warnings {
        add(Tone::Bold, format!("    ! {warning}"));
    }
    lines
        .iter()
        .map(|(tone, line)| out.paint.tone(*tone, line) + "\n")
        .collect()
}

/// What can't be done changes nothing, so only why is shown.
fn refused(group: &GroupPlan, refusal: &Refusal, out: &Output) -> String {
    let what = format!(
        "✗ group {} can't be changed so: {}",
        group.id, refusal.reason
    );
    let instead = format!("    instead: {}", refusal.remedy);
    format!(
        "{}\n{}\n",
        out.paint.tone(Tone::Bad, what),
        out.paint.tone(Tone::Plain, instead)
    )
}

fn machines(count: u32) -> &'static str {
    if count == 1 { "machine" } else { "machines" }
}
