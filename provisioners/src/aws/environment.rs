//! What the provider's tools take from a process's environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables of the environment: this process's, or others in their place.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(Option<BTreeMap<String, String>>);

impl Environment {
    /// Exactly these variables, whatever this process has.
    pub fn of<N: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables.into_iter();
        Self(Some(
            variables
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        ))
    }

    /// The value of a variable; one that is empty counts as not there.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let value = match &self.0 {
            Some(variables) => variables.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// The file that a variable names, or one in the home directory.
    pub(super) fn file(&self, variable: &str, otherwise: &str) -> Option<PathBuf> {
        self.get(variable)
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(self.get("HOME")?).join(otherwise)))
    }
}

/// Its names only: values may be secret.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(variables) => f.debug_set().entries(variables.keys()).finish(),
            None => f.write_str("(this process's)"),
        }
    }
}
