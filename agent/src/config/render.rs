//! Prints a configuration as a commented file: the reference of `muster agent --print-config`.

use std::fmt::Write as _;

use super::AgentConfig;
use super::flags::{environment_name, flag_name};

/// What stands for a secret in print.
const REDACTED: &str = "(redacted)";

/// The defaults as a commented TOML file. Reading it gives the defaults again.
pub fn render_defaults() -> String {
    render(&AgentConfig::default())
}

/// A configuration as a commented TOML file, each key with its description, flag and variable.
///
/// Keys that are not set appear as comments with an example. The join token is not printed.
pub fn render(config: &AgentConfig) -> String {
    let mut out = String::from(
        "# The configuration of a muster agent. Each key can also be given as the flag and the\n\
         # environment variable named with it; a flag outranks its variable, and both outrank\n\
         # this file.\n",
    );
    for (section, table) in config.sections() {
        if !section.is_empty() {
            push(&mut out, format_args!("\n[{section}]\n"));
        }
        for (index, key) in table.keys().iter().enumerate() {
            out.push('\n');
            for line in key.doc.lines() {
                push(&mut out, format_args!("# {}\n", line.trim()));
            }
            push(
                &mut out,
                format_args!(
                    "# --{} or ${}\n",
                    flag_name(section, key.name),
                    environment_name(section, key.name)
                ),
            );
            let secret = section.is_empty() && key.name == "join_token";
            match (table.get(index), key.example) {
                (Some(_), _) if secret => {
                    push(&mut out, format_args!("# {} = \"{REDACTED}\"\n", key.name))
                }
                // An empty list or table says less than an example does.
                (Some(value), Some(example)) if is_empty(&value) => {
                    push(&mut out, format_args!("# {} = {example}\n", key.name))
                }
                (Some(value), _) => push(&mut out, format_args!("{} = {value}\n", key.name)),
                (None, example) => push(
                    &mut out,
                    format_args!("# {} = {}\n", key.name, example.unwrap_or("\"\"")),
                ),
            }
        }
    }
    out
}

fn is_empty(value: &toml::Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
        || value.as_table().is_some_and(toml::Table::is_empty)
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a string cannot fail");
}
