//! Which node a new machine gets. Pure.

use std::collections::BTreeMap;

use super::book::{Book, Entry};
use super::inventory::{Inventory, Node};
use crate::{Labels, MachineSpec, tag};

/// The label by which machines of one group are spread.
const RACK: &str = "rack";

/// The label by which the fleet places machines.
const ZONE: &str = "zone";

/// How long a node on which something went wrong comes last.
const TROUBLE_MS: u64 = 30 * 60 * 1000;

/// What a machine asks of its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    /// Labels that the node must have.
    pub(super) labels: &'a Labels,
    /// The machine.
    pub(super) spec: &'a MachineSpec,
}

/// Why a node is none for a machine, or what is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The nodes that are free and fit, the best first.
    pub(super) nodes: Vec<String>,
    /// How many others there are for each reason.
    pub(super) others: BTreeMap<&'static str, usize>,
}

impl Choice {
    /// Sorts the nodes of an inventory out: first those that gave no trouble of late, then those in racks with the fewest
    /// machines of the same group, then by name.
    pub(super) fn of(inventory: &Inventory, book: &Book, wish: Wish<'_>, now_ms: u64) -> Self {
        let mut choice = Self::default();
        let crowds = crowds(inventory, book, wish.spec.tags.get(tag::GROUP));
        let mut sorted = Vec::new();
        for node in inventory.nodes.values() {
            match unfit(node, book, wish) {
                Ok(entry) => {
                    let troubled = entry
                        .trouble
                        .is_some_and(|trouble| now_ms.saturating_sub(trouble.at_ms) < TROUBLE_MS);
                    let crowd = rack(node).and_then(|rack| crowds.get(rack)).copied();
                    sorted.push((troubled, crowd.unwrap_or(0), &node.name));
                }
                Err(why) => choice.count(why),
            }
        }
        sorted.sort();
        choice.nodes = sorted
            .into_iter()
            .map(|(_, _, name)| name.clone())
            .collect();
        choice
    }

    /// One more that it can't be.
    pub(super) fn count(&mut self, why: &'static str) {
        *self.others.entry(why).or_default() += 1;
    }

    /// Why there is none, for people.
    pub(super) fn explain(&self) -> String {
        if self.others.is_empty() {
            return "the inventory has no nodes".to_owned();
        }
        let reasons: Vec<_> = self
            .others
            .iter()
            .map(|(why, count)| format!("{count} {why}"))
            .collect();
        format!("no node is free and fits ({})", reasons.join(", "))
    }
}

/// What is on record of a node that is free and fits, or why it is none.
fn unfit(node: &Node, book: &Book, wish: Wish<'_>) -> Result<Entry, &'static str> {
    let has = |(name, value): (&String, &String)| node.labels.get(name) == Some(value);
    let zone = wish.spec.labels.get(ZONE);
    let elsewhere = zone.is_some_and(|zone| node.labels.get(ZONE).is_some_and(|its| its != zone));
    if !wish.labels.iter().all(has) {
        return Err("without the labels");
    }
    if elsewhere {
        return Err("in another zone");
    }
    let entry = book.entry(&node.name).ok_or("with a damaged record")?;
    entry.unfit().map_or(Ok(entry), Err)
}

fn rack(node: &Node) -> Option<&String> {
    node.labels.get(RACK)
}

/// How many machines of a group each rack has.
fn crowds<'a>(
    inventory: &'a Inventory,
    book: &Book,
    group: Option<&str>,
) -> BTreeMap<&'a String, usize> {
    let mut crowds = BTreeMap::new();
    for (name, holder) in book.holders() {
        let of_group = group.is_some() && holder.tags.get(tag::GROUP) == group;
        let rack = inventory.nodes.get(name).and_then(rack);
        if let Some(rack) = rack.filter(|_| of_group) {
            *crowds.entry(rack).or_default() += 1;
        }
    }
    crowds
}

#[cfg(test)]
mod tests {
    use super::super::book::{Holder, Phase, Remark, Wipe, id_for};
    use super::*;
    use crate::{OperationId, Properties, Tags};

    fn inventory() -> Inventory {
        let node = |name: &str, rack: &str, zone: &str| {
            format!(
                "[nodes.{name}]\ncontroller = \"https://{name}\"\nlabels = {{ rack = \"{rack}\", zone = \"{zone}\" }}\n"
            )
        };
        let text = [
            node("a1", "a", "x"),
            node("a2", "a", "x"),
            node("b1", "b", "x"),
            node("c1", "c", "y"),
        ];
        Inventory::read(&text.concat()).expect("valid")
    }

    fn held(group: &str) -> Entry {
        let op = OperationId::derive("c", group, "m", 1, "provision");
        Entry {
            holder: Some(Holder {
                id: id_for("a1", &op).expect("valid"),
                ops: vec![op],
                tags: Tags::new().with(tag::GROUP, group),
                made_ms: 0,
                phase: Phase::On,
                may_start_until_ms: 0,
                is_pet: false,
                is_held_off: false,
            }),
            ..Entry::default()
        }
    }

    fn choose(
        book: &[(&str, Option<Entry>)],
        labels: &[(&str, &str)],
        zone: Option<&str>,
    ) -> Choice {
        let mut spec = MachineSpec::new("m", Properties::new());
        spec.tags.insert(tag::GROUP, "web");
        spec.labels
            .extend(zone.map(|zone| ("zone".to_owned(), zone.to_owned())));
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let labels: Labels = labels.collect();
        let book = Book {
            revision: 0,
            nodes: book
                .iter()
                .map(|(name, entry)| ((*name).to_owned(), entry.clone()))
                .collect(),
        };
        let wish = Wish {
            labels: &labels,
            spec: &spec,
        };
        Choice::of(&inventory(), &book, wish, 10 * TROUBLE_MS)
    }

    #[test]
    fn a_group_is_spread_over_racks() {
        assert_eq!(choose(&[], &[], None).nodes, ["a1", "a2", "b1", "c1"]);
        assert_eq!(
            choose(&[("a1", Some(held("web")))], &[], None).nodes,
            ["b1", "c1", "a2"]
        );
        assert_eq!(
            choose(&[("a1", Some(held("db")))], &[], None).nodes,
            ["a2", "b1", "c1"]
        );
    }

    #[test]
    fn labels_and_the_zone_are_kept_to() {
        assert_eq!(choose(&[], &[("rack", "b")], None).nodes, ["b1"]);
        assert_eq!(choose(&[], &[], Some("y")).nodes, ["c1"]);
        let none = choose(&[], &[("rack", "b")], Some("y"));
        assert!(none.nodes.is_empty());
        assert_eq!(
            none.explain(),
            "no node is free and fits (1 in another zone, 3 without the labels)"
        );
    }

    #[test]
    fn what_is_not_free_is_left_out_and_what_gave_trouble_comes_last() {
        let remark = |at_ms| Some(Remark::new("it stayed off", at_ms));
        let aside = Entry {
            quarantine: remark(0),
            ..Entry::default()
        };
        let dirty = Entry {
            wipe: Some(Wipe::Due { at_ms: 0 }),
            ..Entry::default()
        };
        let book = [("a1", Some(aside)), ("a2", Some(dirty)), ("b1", None)];
        let choice = choose(&book, &[], None);
        assert_eq!(choice.nodes, ["c1"]);
        assert_eq!(
            choice.explain(),
            "no node is free and fits (1 in quarantine, 1 to be wiped first, 1 with a damaged record)"
        );
        let troubled = |at_ms| Entry {
            trouble: remark(at_ms),
            ..Entry::default()
        };
        let book = [
            ("a1", Some(troubled(10 * TROUBLE_MS - 1))),
            ("a2", Some(troubled(1))),
        ];
        assert_eq!(choose(&book, &[], None).nodes, ["a2", "b1", "c1", "a1"]);
    }
}
