//! Reads the layers of a configuration, file, environment and flags, and collects every problem on the way.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::AgentConfig;
use super::flags::{ConfigFlags, environment_name, flag_name};
use super::problem::{ConfigError, Place, Problem};
use super::setting::{Key, Section};
use super::validate::validate;

/// The longest configuration file: a hundred times what the whole reference takes, and no danger to memory.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration file's text with the name to call it by in messages.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Where the text comes from.
    pub path: &'a Path,
    /// The text, TOML.
    pub text: &'a str,
}

/// Reads the configuration: the file where one is given, then variables and flags over it.
///
/// # Errors
///
/// Everything that is wrong with it, a file that cannot be read included.
pub fn load(path: Option<&Path>, flags: &ConfigFlags) -> Result<AgentConfig, ConfigError> {
    let text = path.map(read_file).transpose()?;
    let file = path
        .zip(text.as_deref())
        .map(|(path, text)| File { path, text });
    read(file, flags)
}

/// The pure part of [`load`]: reads, layers and checks a configuration that is in memory.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn read(file: Option<File<'_>>, flags: &ConfigFlags) -> Result<AgentConfig, ConfigError> {
    let mut reader = Reader::default();
    if let Some(file) = file {
        reader.apply_file(file);
    }
    reader.apply_flags(flags);
    let Reader {
        config,
        origins,
        mut problems,
    } = reader;
    problems.extend(validate(&config, &origins));
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError { problems })
    }
}

/// Reads a file whole, unless it is too long to be a configuration.
fn read_file(path: &Path) -> Result<String, ConfigError> {
    let failed = |what: String, remedy: &str| ConfigError {
        problems: vec![Problem {
            place: Place::File {
                path: path.to_owned(),
                line: None,
            },
            key: None,
            what,
            remedy: remedy.to_owned(),
        }],
    };
    let file = fs::File::open(path).map_err(|error| {
        failed(
            format!("cannot be opened: {error}"),
            "name a file that this user may read",
        )
    })?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            failed(
                format!("cannot be read: {error}"),
                "name a regular file that this user may read",
            )
        })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(
            format!("is longer than {FILE_BYTES_MAX} bytes"),
            "name the agent's configuration file",
        ));
    }
    String::from_utf8(bytes).map_err(|_| failed("is not UTF-8 text".to_owned(), "save it as UTF-8"))
}

/// Where each key's current value comes from, for problems that show only when all is read.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<(String, Place)>);

impl Origins {
    /// Who set a key last; [`Place::Whole`] for a default.
    pub(super) fn of(&self, path: &str) -> Place {
        let found = self.0.iter().rev().find(|(key, _)| key == path);
        found.map_or(Place::Whole, |(_, place)| place.clone())
    }
}

/// A configuration while its layers are applied.
#[derive(Default)]
struct Reader {
    config: AgentConfig,
    origins: Origins,
    problems: Vec<Problem>,
}

impl Reader {
    fn apply_file(&mut self, file: File<'_>) {
        let (document, errors) = DeTable::parse_recoverable(file.text);
        let place = |offset: Option<usize>| Place::File {
            path: file.path.to_owned(),
            line: offset.map(|offset| line_of(file.text, offset)),
        };
        for error in errors {
            self.problems.push(Problem {
                place: place(error.span().map(|span| span.start)),
                key: None,
                what: error.message().to_owned(),
                remedy: "correct the TOML".to_owned(),
            });
        }
        let mut entries: Vec<_> = document.into_inner().into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let at = place(Some(key.span().start));
            let name = key.get_ref().as_ref();
            let is_section = !name.is_empty()
                && self
                    .config
                    .sections()
                    .iter()
                    .any(|(section, _)| *section == name);
            match (is_section, value.get_ref()) {
                (true, DeValue::Table(_)) => {
                    let DeValue::Table(table) = value.into_inner() else {
                        continue;
                    };
                    let mut entries: Vec<_> = table.into_iter().collect();
                    entries.sort_by_key(|(key, _)| key.span().start);
                    for (key, value) in entries {
                        let at = place(Some(key.span().start));
                        self.apply_toml(name, key.get_ref().as_ref(), value, at);
                    }
                }
                (true, _) => self.problems.push(Problem {
                    place: at,
                    key: Some(name.to_owned()),
                    what: "this is a section, not a value".to_owned(),
                    remedy: format!("write `[{name}]` on a line of its own and its keys below"),
                }),
                (false, _) => self.apply_toml("", name, value, at),
            }
        }
    }

    /// Applies one `key = value` of a file.
    fn apply_toml(&mut self, section: &str, name: &str, value: Spanned<DeValue<'_>>, place: Place) {
        let path = join(section, name);
        let value = match Value::deserialize(value.into_deserializer()) {
            Ok(value) => value,
            Err(error) => {
                let what = error.message().to_owned();
                self.problems.push(Problem {
                    place,
                    key: Some(path),
                    what,
                    remedy: "correct the TOML".to_owned(),
                });
                return;
            }
        };
        self.apply(section, name, place, |section, index| {
            section.set_toml(index, value)
        });
    }

    /// Applies the variables and flags.
    fn apply_flags(&mut self, flags: &ConfigFlags) {
        for given in flags.given() {
            let (section, name) = (given.section, given.name);
            let place = if given.from_environment {
                Place::Environment(environment_name(section, name))
            } else {
                Place::Flag(flag_name(section, name))
            };
            self.apply(section, name, place, |section, index| {
                section.set_text(index, given.text)
            });
        }
    }

    /// Finds a key and sets it, or notes why not.
    fn apply(
        &mut self,
        section: &str,
        name: &str,
        place: Place,
        set: impl FnOnce(&mut dyn Section, usize) -> Result<(), String>,
    ) {
        let path = join(section, name);
        let mut sections = self.config.sections_mut();
        let (_, target) = sections
            .iter_mut()
            .find(|(candidate, _)| *candidate == section)
            .expect("callers name sections that exist");
        let keys = target.keys();
        let Some(index) = keys.iter().position(|key| key.name == name) else {
            let remedy = suggest(&self.config, section, name);
            self.problems.push(Problem {
                place,
                key: Some(path),
                what: "there is no such key".to_owned(),
                remedy,
            });
            return;
        };
        match set(&mut **target, index) {
            Ok(()) => self.origins.0.push((path, place)),
            Err(what) => {
                let remedy = remedy_for(&keys[index]);
                self.problems.push(Problem {
                    place,
                    key: Some(path),
                    what,
                    remedy,
                });
            }
        }
    }
}

/// The remedy for a value of the wrong form: an example where the key has one.
fn remedy_for(key: &Key) -> String {
    match key.example {
        Some(example) => format!("write for example `{} = {example}`", key.name),
        None => format!("write {}", key.expects),
    }
}

/// The most likely meaning of a key that does not exist.
fn suggest(config: &AgentConfig, section: &str, name: &str) -> String {
    if section.is_empty() {
        let mut sections = config.sections().into_iter().map(|(section, _)| section);
        if let Some(near) = sections
            .find(|known| !known.is_empty() && edit_distance(known, name) <= known.len() / 4)
        {
            return format!("did you mean `[{near}]`?");
        }
    }
    let known = config
        .sections()
        .into_iter()
        .flat_map(|(section, table)| table.keys().iter().map(move |key| (section, key.name)));
    // A key of another section by the same name is likelier than a similar name in this one.
    let distance = |(candidate_section, candidate): &(&str, &str)| {
        edit_distance(candidate, name) * 2 + usize::from(*candidate_section != section)
    };
    match known.min_by_key(distance) {
        Some((nearest_section, nearest)) if is_near(nearest, name) => {
            format!("did you mean `{}`?", join(nearest_section, nearest))
        }
        _ => "remove it; `muster agent --print-config` lists all keys".to_owned(),
    }
}

/// Whether one word can be a slip of the other: one letter in words of three or fewer, two in short words, a third of the
/// letters in long ones.
fn is_near(left: &str, right: &str) -> bool {
    let shorter = left.len().min(right.len());
    let slips = if shorter <= 3 { 1 } else { 2 };
    edit_distance(left, right) <= shorter.div_ceil(3).max(slips)
}

/// How many letters have to change to make one word of the other (Levenshtein).
fn edit_distance(left: &str, right: &str) -> usize {
    // Keys are short; a long word from a hostile file must not cost quadratic time.
    const WORD_BYTES_MAX: usize = 64;
    if left.len().max(right.len()) > WORD_BYTES_MAX {
        return usize::MAX / 4;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// A key's path: `health.interval`, or just `name` in the first section.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}

/// The line, from 1, of a place in a text.
fn line_of(text: &str, offset: usize) -> usize {
    let end = offset.min(text.len());
    text.as_bytes()[..end]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}
