//! Group specs as people write them: TOML, JSON or YAML, checked whole before anything is stored.
//!
//! [`load`] reads files, [`parse`] is its pure part; both give the canonical [`GroupSpec`]s that the fleet state
//! keeps, or *everything* that is wrong, each problem with file, line, column, field and remedy. [`document()`] turns
//! a canonical spec back into what a person would write, and [`plan()`] says what applying one would change.
//!
//! A file holds one group, or several: in TOML as `[[group]]` tables, in JSON and YAML as a list or as `{"group": […]}`. What
//! was written for InfraKit is taken as it is ([`infrakit`]).

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::fleet::names::{GroupId, MachineName};
use crate::fleet::spec::{Allocation, GroupSpec};

pub use document::{document, to_toml};
pub use plan::{Current, plan, plan_scale};
pub use problem::{SpecError, SpecProblem};

pub(crate) use group::for_flavor;
pub(crate) use places::locate;

use fields::Read;
use problem::Found;
use tree::{Node, NodeKind, SyntaxError};

mod document;
mod fields;
mod group;
pub(crate) mod infrakit;
mod json;
mod places;
mod plan;
mod problem;
mod toml;
mod tree;
mod yaml;

#[cfg(test)]
mod tests;

/// The longest spec file: some thousand groups, and what one request can carry.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// More problems than this are counted, not listed: something else than single slips is wrong.
const PROBLEMS_MAX: usize = 100;

/// The name that stands for standard input on command lines.
const STDIN: &str = "-";

/// A text with the name to call it by in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its file name, whose ending decides the format where it is `.toml`, `.json`, `.yaml` or `.yml`.
    pub name: String,
    /// The text.
    pub text: String,
}

/// What checks the parts of a spec that only provisioners and flavors understand.
#[derive(Debug, Clone)]
pub struct Registries {
    /// The provisioners.
    pub provisioners: muster_provisioners::Registry,
    /// The flavors.
    pub flavors: muster_flavors::Registry,
}

impl Registries {
    /// All that were compiled in.
    pub fn builtin() -> Self {
        Self {
            provisioners: muster_provisioners::Registry::builtin(),
            flavors: muster_flavors::Registry::builtin(),
        }
    }
}

/// Reads spec files; `-` is standard input.
///
/// # Errors
/// Everything that is wrong with them, files that can't be read included.
pub fn load(paths: &[PathBuf], registries: &Registries) -> Result<Vec<GroupSpec>, SpecError> {
    load_placed(paths, registries).map(|(specs, _)| specs)
}

/// [`load`], with the files as they are, in which [`locate`] finds what turns out to be wrong later.
///
/// # Errors
/// Everything that is wrong with them, files that can't be read included.
pub(crate) fn load_placed(
    paths: &[PathBuf],
    registries: &Registries,
) -> Result<(Vec<GroupSpec>, Vec<Source>), SpecError> {
    let (sources, mut problems) = read_all(paths);
    match parse(&sources, registries) {
        Ok(specs) if problems.is_empty() => Ok((specs, sources)),
        Ok(_) => Err(SpecError { problems }),
        Err(error) => {
            // Where a file is missing, "there is no group" says nothing new.
            let others = error.problems.into_iter().filter(|_| !sources.is_empty());
            problems.extend(others);
            Err(SpecError { problems })
        }
    }
}

/// Reads spec files as they are; `-` is standard input.
///
/// # Errors
/// The files that can't be read.
pub fn read_sources(paths: &[PathBuf]) -> Result<Vec<Source>, SpecError> {
    let (sources, problems) = read_all(paths);
    if problems.is_empty() {
        Ok(sources)
    } else {
        Err(SpecError { problems })
    }
}

fn read_all(paths: &[PathBuf]) -> (Vec<Source>, Vec<SpecProblem>) {
    let mut sources = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match read_source(path) {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(*problem),
        }
    }
    (sources, problems)
}

/// Reads specs that are in memory. Pure.
///
/// # Errors
/// Everything that is wrong with them.
pub fn parse(sources: &[Source], registries: &Registries) -> Result<Vec<GroupSpec>, SpecError> {
    let mut specs = Vec::new();
    let mut problems = Vec::new();
    let mut names = Names::default();
    for source in sources {
        let mut found = Vec::new();
        for spec in read_groups(source, registries, &mut found) {
            names.add(source, &spec, &mut found);
            specs.push(spec.value);
        }
        found.sort_by_key(|problem| problem.span.start);
        problems.extend(
            found
                .into_iter()
                .map(|problem| problem.place(&source.name, &source.text)),
        );
    }
    if specs.is_empty() && problems.is_empty() {
        let source = sources.first();
        problems.push(whole(
            source.map_or("", |source| &source.name),
            "there is no group in it",
            "write for example [[group]] with id = \"web\" and size = 3",
        ));
    }
    if problems.is_empty() {
        return Ok(specs);
    }
    if problems.len() > PROBLEMS_MAX {
        let more = problems.len() - PROBLEMS_MAX;
        problems.truncate(PROBLEMS_MAX);
        let file = problems
            .last()
            .map(|problem| problem.file.clone())
            .unwrap_or_default();
        problems.push(whole(
            &file,
            &format!("and {more} more problems"),
            "begin with the first",
        ));
    }
    Err(SpecError { problems })
}

fn read_groups(
    source: &Source,
    registries: &Registries,
    found: &mut Vec<Found>,
) -> Vec<Read<GroupSpec>> {
    let tree = match tree_of(source) {
        Ok((tree, untranslated)) => {
            found.extend(untranslated);
            tree
        }
        Err(errors) => {
            found.extend(errors.into_iter().map(|error| Found {
                span: error.span,
                field: String::new(),
                what: error.what,
                remedy: error.remedy,
            }));
            return Vec::new();
        }
    };
    let mut groups = Vec::new();
    for (index, node) in group_nodes(&tree, found).into_iter().enumerate() {
        groups.extend(group::read(
            node,
            &format!("group[{index}]"),
            registries,
            found,
        ));
    }
    groups
}

/// The groups of a document, in whichever of the accepted forms it is.
fn group_nodes<'t>(tree: &'t Node, found: &mut Vec<Found>) -> Vec<&'t Node> {
    let entries = match &tree.kind {
        NodeKind::List(items) => return items.iter().collect(),
        NodeKind::Object(entries) => entries,
        // Not a group, which its reader will say.
        _ => return vec![tree],
    };
    let Some(group) = entries.iter().find(|entry| entry.key == "group") else {
        let mut slips = entries
            .iter()
            .filter(|entry| is_like_groups(entry))
            .peekable();
        if slips.peek().is_some() {
            found.extend(slips.map(|entry| Found {
                span: entry.key_span.clone(),
                field: fields::shorten(&entry.key),
                what: "is no key, and there is no `group` beside it".into(),
                remedy: "write [[group]] above each group".into(),
            }));
            return Vec::new();
        }
        return if entries.is_empty() {
            Vec::new()
        } else {
            vec![tree]
        };
    };
    for entry in entries.iter().filter(|entry| entry.key != "group") {
        found.push(Found {
            span: entry.key_span.clone(),
            field: fields::shorten(&entry.key),
            what: "beside groups nothing is allowed at the top".into(),
            remedy: "put it below the header of its group".into(),
        });
    }
    match &group.node.kind {
        NodeKind::List(items) => items.iter().collect(),
        _ => vec![&group.node],
    }
}

/// Whether a key at the top holds groups under another name: tables with an `id`, and not a group's own.
fn is_like_groups(entry: &tree::Entry) -> bool {
    let has_id = |node: &Node| match &node.kind {
        NodeKind::Object(entries) => entries.iter().any(|entry| entry.key == "id"),
        _ => false,
    };
    let holds = match &entry.node.kind {
        NodeKind::List(items) => items.iter().any(has_id),
        _ => has_id(&entry.node),
    };
    holds && !matches!(entry.key.as_str(), "members" | "attachments")
}

/// A text as a tree, in muster's own words: groups of InfraKit's are translated, with what is wrong with them.
///
/// # Errors
/// The places where it is not of its format.
fn tree_of(source: &Source) -> Result<(Node, Vec<Found>), Vec<SyntaxError>> {
    let tree = match format_of(source) {
        Format::Json => json::parse(&source.text),
        Format::Toml => toml::parse(&source.text),
        Format::Yaml => yaml::parse(&source.text),
    }?;
    let mut found = Vec::new();
    Ok((infrakit::translated(tree, &mut found), found))
}

/// In what a spec may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Toml,
    Yaml,
}

/// By its name's ending, else by how it begins. `[[group]]` begins TOML, `[{` JSON, and a word with a colon or a hyphen YAML.
fn format_of(source: &Source) -> Format {
    match Path::new(&source.name)
        .extension()
        .and_then(|ending| ending.to_str())
    {
        Some("json") => return Format::Json,
        Some("toml") => return Format::Toml,
        Some("yaml" | "yml") => return Format::Yaml,
        _ => {}
    }
    let text = source.text.trim_start();
    let list = text.strip_prefix('[').map(str::trim_start);
    if text.starts_with('{') || list.is_some_and(|rest| rest.starts_with(['{', ']'])) {
        return Format::Json;
    }
    let mut lines = text.lines().map(str::trim);
    let first = lines
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or_default();
    let (key, rest) = first.split_once(':').unwrap_or((first, "x"));
    let is_entry = !key.contains(['=', '[']) && (rest.is_empty() || rest.starts_with(' '));
    if is_entry || first.starts_with("- ") || first == "---" {
        return Format::Yaml;
    }
    Format::Toml
}

// === names across groups and files ===

/// What is named so far, with where.
#[derive(Default)]
struct Names {
    groups: BTreeMap<GroupId, String>,
    cattle: Vec<GroupId>,
    pets: BTreeMap<MachineName, GroupId>,
}

impl Names {
    fn add(&mut self, source: &Source, spec: &Read<GroupSpec>, found: &mut Vec<Found>) {
        let id = &spec.value.id;
        let mut problem = |what: String, remedy: &str| {
            found.push(Found {
                span: spec.span.clone(),
                field: format!("group.{id}"),
                what,
                remedy: remedy.into(),
            });
        };
        let line = tree::line_and_column(&source.text, spec.span.start).0;
        let place = format!("{}:{line}", source.name);
        if let Some(first) = self.groups.insert(id.clone(), place) {
            problem(
                format!("group `{id}` is declared already, at {first}"),
                "give each group its own ID",
            );
            return;
        }
        match &spec.value.allocation {
            Allocation::Cattle { .. } => {
                for (pet, group) in &self.pets {
                    if is_machine_of(pet.as_str(), id) {
                        problem(clash(pet, group, id), "rename the pet or the group");
                    }
                }
                self.cattle.push(id.clone());
            }
            Allocation::Pets { members } => {
                for pet in members.keys() {
                    if let Some(group) = self
                        .cattle
                        .iter()
                        .find(|group| is_machine_of(pet.as_str(), group))
                    {
                        problem(clash(pet, id, group), "rename the pet or the group");
                    }
                    if let Some(group) = self.pets.insert(pet.clone(), id.clone()) {
                        let what = format!("pet `{pet}` is a member of group `{group}` already");
                        problem(what, "a pet lives in one group; give each its own name");
                    }
                }
            }
        }
    }
}

fn clash(pet: &MachineName, pets: &GroupId, cattle: &GroupId) -> String {
    format!("pet `{pet}` of group `{pets}` would have the name of a machine of group `{cattle}`")
}

/// Whether `name` is what a machine of this cattle group may be called.
fn is_machine_of(name: &str, group: &GroupId) -> bool {
    name.strip_prefix(group.as_str())
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|ordinal| {
            !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit())
        })
}

// === files ===

fn read_source(path: &Path) -> Result<Source, Box<SpecProblem>> {
    let failed = |name: &str, what: &str, remedy: &str| Err(Box::new(whole(name, what, remedy)));
    let from_stdin = path.as_os_str() == STDIN;
    let name = if from_stdin {
        "<stdin>".to_owned()
    } else {
        path.display().to_string()
    };
    let mut bytes = Vec::new();
    let read = if from_stdin {
        std::io::stdin()
            .lock()
            .take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    if let Err(error) = read {
        let remedy = "name a file that you may read, or - for standard input";
        return failed(&name, &format!("can't be read: {error}"), remedy);
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let what = format!("is longer than {FILE_BYTES_MAX} bytes");
        return failed(&name, &what, "apply the groups in several files");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source { name, text }),
        Err(_) => failed(&name, "is not UTF-8 text", "save it as UTF-8"),
    }
}

/// A problem with a file as a whole.
fn whole(file: &str, what: &str, remedy: &str) -> SpecProblem {
    SpecProblem {
        file: file.to_owned(),
        line: 0,
        column: 0,
        field: String::new(),
        what: what.to_owned(),
        remedy: remedy.to_owned(),
        excerpt: String::new(),
        width: 0,
    }
}
