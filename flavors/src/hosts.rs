//! Where the members of an ensemble are found: addresses that outlive their machines.

use std::collections::BTreeMap;

use muster_provisioners::{Fields, Problem};

use crate::Allocation;

/// What stands for a member's own name in an address.
const MEMBER: &str = "{member}";

/// The members of an ensemble, and the host of each. A group may still have machines of members that it declares no more, so
/// they have hosts, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hosts {
    members: Vec<String>,
    template: String,
    named: BTreeMap<String, String>,
}

impl Hosts {
    /// Reads `address` (default `{member}`) and `addresses`, and reports what is wrong with them.
    pub(crate) fn read(fields: &mut Fields<'_>, allocation: &Allocation) -> Self {
        let template = fields.string("address");
        let mut members = match allocation {
            Allocation::Pets { members } => members.clone(),
            Allocation::Cattle { .. } => {
                let reason =
                    "an ensemble has members with names of their own, and this group has none";
                fields.problem(
                    "address",
                    reason,
                    "give the group `members` in place of `size`",
                );
                Vec::new()
            }
        };
        members.sort();
        let hosts = Self {
            members,
            template: template.unwrap_or_else(|| MEMBER.to_owned()),
            named: fields.string_map("addresses").unwrap_or_default(),
        };
        let mut seen: BTreeMap<String, &str> = BTreeMap::new();
        for (member, host) in hosts.iter() {
            let field = if hosts.named.contains_key(member) {
                format!("addresses.{member}")
            } else {
                "address".to_owned()
            };
            if !is_host(&host) {
                let reason = format!("`{host}` is neither a host name nor an IP address");
                fields.problem(
                    &field,
                    reason,
                    "write it without a scheme and without a port",
                );
            } else if let Some(other) = seen.insert(host, member) {
                let reason = format!("{other} and {member} are both at the same address");
                fields.problem(
                    &field,
                    reason,
                    "give each its own, or put {member} into `address`",
                );
            }
        }
        hosts
    }

    /// Whether the group declares a member.
    pub(crate) fn declares(&self, member: &str) -> bool {
        self.members.iter().any(|declared| declared == member)
    }

    /// A member's host.
    pub(crate) fn of(&self, member: &str) -> String {
        let named = self.named.get(member).cloned();
        named.unwrap_or_else(|| self.template.replace(MEMBER, member))
    }

    /// All declared members with their hosts, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, String)> {
        let members = self.members.iter();
        members.map(|member| (member.as_str(), self.of(member)))
    }

    /// All but one.
    pub(crate) fn others(&self, me: &str) -> impl Iterator<Item = (&str, String)> {
        self.iter().filter(move |(member, _)| *member != me)
    }

    /// What is wrong with a member that the group does not declare.
    pub(crate) fn undeclared(&self, member: &str) -> Option<Problem> {
        let reason = format!("the group declares no member {member}");
        let remedy = "it was taken out of `members`, and is not made again";
        (!self.declares(member)).then(|| Problem::new("addresses", reason, remedy))
    }
}

/// A host as it stands in an address, where an IPv6 address is in brackets.
pub(crate) fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn is_host(text: &str) -> bool {
    let is_name = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    !text.is_empty() && text.len() <= 253 && (is_name || text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Reads a port.
pub(crate) fn port(fields: &mut Fields<'_>, name: &str, default: u16) -> u16 {
    let Some(number) = fields.integer(name) else {
        return default;
    };
    match u16::try_from(number) {
        Ok(port @ 1..) => port,
        _ => {
            fields.problem(
                name,
                format!("{number} is no port"),
                "write a number from 1 to 65535",
            );
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_provisioners::Properties;
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value, members: &[&str]) -> (Hosts, Vec<String>) {
        let properties = Properties::from_value(value).expect("an object");
        let members = members.iter().map(|name| (*name).to_owned()).collect();
        let mut fields = Fields::new(&properties);
        let hosts = Hosts::read(&mut fields, &Allocation::Pets { members });
        let problems = fields.finish();
        (
            hosts,
            problems.into_iter().map(|problem| problem.field).collect(),
        )
    }

    #[test]
    fn each_member_has_a_host_by_its_name_or_by_the_list() {
        let (hosts, problems) = read(
            json!({ "address": "{member}.db.example", "addresses": { "b": "fd00::2" } }),
            &["a", "b"],
        );
        assert_eq!(problems, [""; 0]);
        assert_eq!(hosts.of("a"), "a.db.example");
        let others: Vec<_> = hosts.others("a").collect();
        assert_eq!(others, [("b", "fd00::2".to_owned())]);
        assert_eq!(bracketed("fd00::2"), "[fd00::2]");
        assert_eq!(
            hosts.of("c"),
            "c.db.example",
            "it may have been declared before"
        );
        assert!(hosts.undeclared("c").is_some() && hosts.undeclared("a").is_none());
    }

    #[test]
    fn what_is_no_host_or_somebody_elses_is_told() {
        let wrong = json!({ "addresses": { "a": "http://x", "b": "10.0.0.1", "c": "10.0.0.1", "z": "y z" } });
        let (_, problems) = read(wrong, &["a", "b", "c"]);
        assert_eq!(problems, ["addresses.a", "addresses.c"]);
        let (_, problems) = read(json!({ "address": "same" }), &["a", "b"]);
        assert_eq!(problems, ["address"]);
    }

    #[test]
    fn cattle_are_no_ensemble() {
        let properties = Properties::new();
        let mut fields = Fields::new(&properties);
        Hosts::read(&mut fields, &Allocation::Cattle { size: 3 });
        assert_eq!(fields.finish().len(), 1);
    }
}
