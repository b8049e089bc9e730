//! Flavors by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_provisioners::{Problem, Properties};

use crate::{Allocation, Flavor};

/// A flavor bound to a group's properties, or everything that is wrong with them.
pub type Built = Result<Arc<dyn Flavor>, Vec<Problem>>;

/// One kind of flavor: its name, and how to make one from a group's properties.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The name in group specs.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Makes the flavor that a group's properties describe, or says everything that is wrong with them. Pure.
    pub build: fn(&Properties, &Allocation) -> Built,
}

/// The kinds of flavor that this program knows, by name.
#[derive(Debug, Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Kind>);

impl Registry {
    /// A registry that knows none.
    pub fn empty() -> Self {
        Self::default()
    }

    /// All kinds that were compiled in.
    pub fn builtin() -> Self {
        let mut registry = Self::empty();
        registry.add(crate::vanilla::KIND);
        #[cfg(unix)]
        registry.add(crate::infrakit::KIND);
        registry
            .add(crate::vanilla::KIND)
            .add(crate::combo::KIND)
            .add(crate::etcd::KIND)
            .add(crate::exec::KIND)
            .add(crate::zookeeper::KIND);
        registry
    }

    /// Adds a kind, in place of one of the same name.
    pub fn add(&mut self, kind: Kind) -> &mut Self {
        self.0.insert(kind.name, kind);
        self
    }

    /// All kinds in the order of their names.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.0.values()
    }

    /// Makes the flavor `name` for a group. Pure.
    ///
    /// # Errors
    /// Everything that is wrong: an unknown name (as the field `flavor`), or what that kind finds (under
    /// `properties`).
    pub fn build(&self, name: &str, properties: &Properties, allocation: &Allocation) -> Built {
        match self.0.get(name) {
            Some(kind) => (kind.build)(properties, allocation).map_err(|problems| {
                problems
                    .into_iter()
                    .map(|problem| problem.under("properties"))
                    .collect()
            }),
            None => {
                let names: Vec<_> = self.0.keys().copied().collect();
                let name: String = name.chars().take(64).collect();
                let reason = format!("there is no flavor `{name}`");
                let remedy = format!("write one of: {}", names.join(", "));
                Err(vec![Problem::new("flavor", reason, remedy)])
            }
        }
    }

    /// Everything that is wrong with a group's flavor and its properties. Pure.
    pub fn validate(
        &self,
        name: &str,
        properties: &Properties,
        allocation: &Allocation,
    ) -> Vec<Problem> {
        self.build(name, properties, allocation)
            .err()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are() {
        let none = Allocation::Cattle { size: 0 };
        let problems = Registry::builtin().validate("zookeper", &Properties::new(), &none);
        assert_eq!(problems[0].field, "flavor");
        assert!(problems[0].remedy.contains("vanilla"));
    }

    #[test]
    fn problems_of_properties_are_under_properties() {
        let properties = r#"{"colour": "red"}"#.parse().expect("valid");
        let none = Allocation::Cattle { size: 0 };
        let problems = Registry::builtin().validate("vanilla", &properties, &none);
        assert_eq!(problems[0].field, "properties.colour");
    }
}
