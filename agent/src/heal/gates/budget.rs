//! `budget`: how many machines may be replaced at one time, and within an hour.

use super::Question;
use crate::fleet::{Rule, Turn};
use crate::heal::gate::Gate;

pub(super) fn budget(question: &Question<'_>) -> Gate {
    let at_once = at_once(question);
    if at_once.check.holds() {
        return at_once;
    }
    if let Some(gate) = beyond_the_group(question) {
        return gate;
    }
    let (group, now_ms) = (question.group, question.board.now_ms);
    let per_hour = group.per_hour();
    let tokens = group.bucket.tokens(per_hour, now_ms);
    if tokens > 0 {
        let margin = format!(
            "{}; {tokens} of {per_hour} are left this hour",
            at_once.check.margin
        );
        return Gate::pass(Rule::Budget, margin).turned_by(Turn::Spending);
    }
    match group.bucket.wait_ms(per_hour, now_ms) {
        Some(wait_ms) => {
            let margin = format!("this hour's {per_hour} replacements are spent");
            Gate::hold_until(Rule::Budget, margin, now_ms.saturating_add(wait_ms))
                .turned_by(Turn::Income)
        }
        None => Gate::hold(
            Rule::Budget,
            "the group may never be healed: its budget is 0 an hour",
        )
        .turned_by(Turn::Allowance),
    }
}

/// Whether the fleet's budget or the zone's has nothing left.
fn beyond_the_group(question: &Question<'_>) -> Option<Gate> {
    let (machine, _) = question.machine?;
    let now_ms = question.board.now_ms;
    let limits = question.state.limits_on(machine, now_ms);
    let (limit, detail) = limits
        .iter()
        .find_map(|limit| Some((limit, limit.held()?)))?;
    Some(if limit.tokens == 0 {
        let until_ms = now_ms.saturating_add(limit.wait_ms);
        Gate::hold_until(Rule::Budget, detail, until_ms).turned_by(Turn::IncomeElsewhere)
    } else {
        Gate::hold(Rule::Budget, detail).turned_by(Turn::EndedElsewhere)
    })
}

pub(super) fn at_once(question: &Question<'_>) -> Gate {
    let under_way = question.state.removals(&question.group.spec.id);
    let at_once = question.group.at_once();
    let margin = format!("{under_way} of {at_once} at once are under way");
    if under_way < at_once {
        Gate::pass(Rule::Budget, margin).turned_by(Turn::Removals)
    } else {
        Gate::hold(Rule::Budget, margin).turned_by(Turn::Ended)
    }
}
