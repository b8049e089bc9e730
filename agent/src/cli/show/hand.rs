//! Orders by hand.

use super::super::output::{Output, Tone};
use super::super::time;
use super::decision::rules;
use crate::api::types::{MachineRow, OrderDetail, OrderRow, OrderState};

/// One order with what the rules said.
pub(in crate::cli) fn order(detail: &OrderDetail, out: &Output) -> String {
    let mut text = line(&detail.order, out);
    if detail.order.state == OrderState::Waits {
        let order = detail.order.order;
        text += &format!("`muster cancel {order}` takes it back\n");
    }
    if let Some(decision) = &detail.decision {
        text += &rules(decision, out);
    }
    text
}

/// How far an order is, in one line.
pub(in crate::cli) fn progress(detail: &OrderDetail) -> String {
    let order = &detail.order;
    format!("{}: {}", order.state, order.detail)
}

/// Orders that wait or are under way; one line each.
pub(super) fn orders(orders: &[OrderRow], out: &Output) -> String {
    orders.iter().map(|order| line(order, out)).collect()
}

fn line(order: &OrderRow, out: &Output) -> String {
    let tone = match order.state {
        OrderState::UnderWay => Tone::Warn,
        OrderState::Done => Tone::Good,
        _ => Tone::Bad,
    };
    let what = format!(
        "order {}, {} {}, {}:",
        order.order, order.what, order.machine, order.state
    );
    let mut words = order.detail.clone();
    if !order.forced.is_empty() {
        words += &format!("; forces {}", order.forced.join(", "));
    }
    if !order.reason.is_empty() {
        words += &format!(" ({})", order.reason);
    }
    format!(
        "{} {}\n",
        out.paint.tone(tone, what),
        out.paint.tone(Tone::Plain, words)
    )
}

/// Machines that have handed over their duties, and that nobody cordoned; one line each.
pub(super) fn drained(machines: &[MachineRow], out: &Output) -> String {
    let lone = |machine: &&MachineRow| machine.cordoned.is_none();
    let drained = machines.iter().filter(lone);
    drained
        .filter_map(|machine| {
            let since = time::age(machine.drained_ms?, out.now_ms);
            let name = &machine.name;
            let words = format!(
                "{since} ago; it serves nobody until `muster restart {name}`, or `muster uncordon {name}` if it serves again"
            );
            Some(format!(
                "{} {}\n",
                out.paint.tone(Tone::Warn, format!("{name} is drained,")),
                out.paint.tone(Tone::Plain, words)
            ))
        })
        .collect()
}

/// Machines that are left to people; one line each.
pub(super) fn cordons(machines: &[MachineRow], out: &Output) -> String {
    let cordoned = machines
        .iter()
        .filter_map(|machine| Some((&machine.name, machine.cordoned.as_ref()?)));
    cordoned
        .map(|(name, cordon)| {
            let since = time::age(cordon.since_ms, out.now_ms);
            let by = cordon.by.as_ref();
            let by = by.map_or_else(String::new, |by| format!(" by {by}"));
            let drained = match cordon.drained_ms {
                Some(at_ms) => format!(", drained {} ago", time::age(at_ms, out.now_ms)),
                None => String::new(),
            };
            let mut words = format!("{since} ago{by}{drained}");
            if !cordon.reason.is_empty() {
                words += &format!(": {}", cordon.reason);
            }
            format!(
                "{} {}\n",
                out.paint.tone(Tone::Warn, format!("{name} is cordoned,")),
                out.paint.tone(Tone::Plain, words)
            )
        })
        .collect()
}
