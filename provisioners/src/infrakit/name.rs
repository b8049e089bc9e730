//! How InfraKit names plugins: `lookup`, or `lookup/type` where one plugin has several objects.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::Fields;

/// The name of a plugin as specs have it: where it is looked up, and which of its objects is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName {
    lookup: String,
    kind: String,
}

/// A text that can't name a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no plugin: write `NAME` or `NAME/TYPE`, where NAME is a file in the directory of plugins"
)]
pub struct ParsePluginNameError(String);

impl PluginName {
    /// The longest name: its part before the slash is the name of a file.
    pub const MAX_BYTES: usize = 128;

    /// Takes the field `plugin`, which has to be there; where it is not, or names none, the problem is put down, with an
    /// example of what to write.
    pub fn take(fields: &mut Fields<'_>, example: &str) -> Option<Self> {
        let reason = match fields.value("plugin") {
            Some(Value::String(name)) => match name.parse() {
                Ok(name) => return Some(name),
                Err(ParsePluginNameError(name)) => ParsePluginNameError(name).to_string(),
            },
            Some(_) => "the name of a plugin is a text".to_owned(),
            None => "no plugin is named".to_owned(),
        };
        fields.problem("plugin", reason, format!("write plugin = \"{example}\""));
        None
    }

    /// The socket's name in the directory of plugins.
    pub fn lookup(&self) -> &str {
        &self.lookup
    }

    /// Which object of the plugin; empty for the only one.
    pub fn kind(&self) -> &str {
        &self.kind
    }
}

impl FromStr for PluginName {
    type Err = ParsePluginNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (lookup, kind) = text.split_once('/').unwrap_or((text, ""));
        // A colon separates the plugin from the instance in muster's instance IDs.
        let printable = |part: &str| {
            part.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b':')
        };
        let is_file = !lookup.is_empty() && !lookup.starts_with('.');
        let is_short = text.len() <= Self::MAX_BYTES;
        if is_file && is_short && printable(lookup) && printable(kind) {
            Ok(Self {
                lookup: lookup.to_owned(),
                kind: kind.to_owned(),
            })
        } else {
            Err(ParsePluginNameError(text.chars().take(64).collect()))
        }
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lookup)?;
        if self.kind.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_split_at_its_first_slash() {
        let name: PluginName = "aws/ec2/spot".parse().expect("valid");
        assert_eq!((name.lookup(), name.kind()), ("aws", "ec2/spot"));
        assert_eq!(name.to_string(), "aws/ec2/spot");
        let name: PluginName = "file".parse().expect("valid");
        assert_eq!((name.lookup(), name.kind()), ("file", ""));
    }

    #[test]
    fn no_name_leaves_the_directory() {
        for bad in ["", "/x", "..", "../up", ".hidden", "a b", "a:b", "ü", "a\n"] {
            assert!(bad.parse::<PluginName>().is_err(), "{bad}");
        }
        assert!("x".repeat(200).parse::<PluginName>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_a_name_is_read_back(text in any::<String>()) {
            if let Ok(name) = text.parse::<PluginName>() {
                prop_assert_eq!(name.to_string().parse::<PluginName>(), Ok(name));
            }
        }
    }
}
