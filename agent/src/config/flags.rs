//! Every key as a flag and as an environment variable, generated from the table of keys.

use std::sync::LazyLock;

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::AgentConfig;
use super::source::join;

/// The flags and variables that were given; flatten it into a command (`#[command(flatten)]`).
///
/// Values stay text until [`load`](super::load), which reports what is wrong with them together with what is wrong
/// with the file. A flag outranks its variable. An empty variable counts as not set.
#[derive(Debug, Clone, Default)]
pub struct ConfigFlags {
    given: Vec<(usize, bool, String)>,
}

/// One flag or variable that was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<'a> {
    /// The key's section; empty for the first.
    pub(super) section: &'static str,
    /// The key.
    pub(super) name: &'static str,
    /// Whether a variable gave it rather than a flag.
    pub(super) from_environment: bool,
    /// What was given; several occurrences joined by commas.
    pub(super) text: &'a str,
}

impl ConfigFlags {
    /// Flags as if given on a command line: pairs of a key's path (`health.interval`) and its text.
    ///
    /// # Panics
    ///
    /// On a path that is not a key's: callers name keys, not users.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let index = |path: &str| {
            let found = FLAGS.iter().position(|flag| flag.path == path);
            found.unwrap_or_else(|| panic!("`{path}` is no key of the configuration"))
        };
        Self {
            given: pairs
                .into_iter()
                .map(|(path, text)| (index(path), false, text.to_owned()))
                .collect(),
        }
    }

    /// What was given, in the order of the keys.
    pub(super) fn given(&self) -> impl Iterator<Item = Given<'_>> {
        self.given.iter().map(|(index, from_environment, text)| {
            let flag = &FLAGS[*index];
            Given {
                section: flag.section,
                name: flag.name,
                from_environment: *from_environment,
                text,
            }
        })
    }
}

/// The names that a key has outside of files. Built once: clap wants names that live for ever.
#[derive(Debug)]
struct Flag {
    section: &'static str,
    name: &'static str,
    path: String,
    long: String,
    environment: String,
    summary: String,
    description: String,
    repeats: bool,
}

static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
    let defaults = AgentConfig::default();
    let mut flags = Vec::new();
    for (section, table) in defaults.sections() {
        for (index, key) in table.keys().iter().enumerate() {
            let path = join(section, key.name);
            let text = key.doc.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            let default = table
                .get(index)
                .map_or_else(String::new, |value| format!(" [default: {value}]"));
            flags.push(Flag {
                section,
                name: key.name,
                long: path.replace(['.', '_'], "-"),
                environment: format!("MUSTER_{}", path.replace('.', "_").to_uppercase()),
                summary: format!(
                    "{}{default}",
                    text.split_inclusive(". ")
                        .next()
                        .unwrap_or_default()
                        .trim_end()
                ),
                description: format!("{text} Expects {}.{default}", key.expects),
                repeats: key.repeats,
                path,
            });
        }
    }
    flags
});

/// The flag of a key that exists, without its dashes.
pub(super) fn flag_name(section: &str, name: &str) -> &'static str {
    find(section, name).map_or("", |flag| &flag.long)
}

/// The variable of a key that exists.
pub(super) fn environment_name(section: &str, name: &str) -> &'static str {
    find(section, name).map_or("", |flag| &flag.environment)
}

fn find(section: &str, name: &str) -> Option<&'static Flag> {
    FLAGS
        .iter()
        .find(|flag| flag.section == section && flag.name == name)
}

impl Args for ConfigFlags {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, flag| {
            let action = if flag.repeats {
                ArgAction::Append
            } else {
                ArgAction::Set
            };
            command.arg(
                Arg::new(flag.path.as_str())
                    .long(flag.long.as_str())
                    .env(flag.environment.as_str())
                    .hide_env_values(true)
                    .value_name("VALUE")
                    .value_parser(ValueParser::string())
                    .allow_hyphen_values(true)
                    .action(action)
                    .help(flag.summary.as_str())
                    .long_help(flag.description.as_str())
                    .help_heading("Configuration (each outranks the file's key of the same name)"),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.given.clear();
        for (index, flag) in FLAGS.iter().enumerate() {
            let Some(values) = matches.get_many::<String>(&flag.path) else {
                continue;
            };
            let from_environment =
                matches.value_source(&flag.path) == Some(ValueSource::EnvVariable);
            let text = values.map(String::as_str).collect::<Vec<_>>().join(",");
            if !(from_environment && text.is_empty()) {
                self.given.push((index, from_environment, text));
            }
        }
        Ok(())
    }
}
