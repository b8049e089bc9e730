//! The agent's figures as Prometheus text (exposition format 0.0.4).
//!
//! There is no registry: every part of the agent keeps its own figures in a plain struct, and a scrape asks each
//! part for a copy and writes it out. A registry would hold every figure a second time, in atomics behind shared
//! pointers, on machines that nobody scrapes; this holds nothing and costs only when someone asks.

use std::fmt::{self, Write as _};

mod fleet;
mod mesh;
mod process;

pub use fleet::{Build, FleetStats, GroupStats, HealthStats};
pub use process::{FlightStats, ProcessStats};

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Something that has figures.
pub trait Export {
    /// Writes the figures.
    fn export(&self, out: &mut Exposition);
}

/// Writes the figures of all parts.
pub fn render(parts: &[&dyn Export]) -> String {
    let mut out = Exposition::default();
    for part in parts {
        part.export(&mut out);
    }
    out.text
}

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Grows only, except for a restart. Its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A text of figures while it is written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

/// One family of figures: a name, a kind, and a value per set of labels.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Exposition {
    /// Writes a counter without labels.
    pub fn counter(&mut self, name: &'static str, help: &str, value: u64) {
        self.family(name, help, Kind::Counter)
            .value(&[], value as f64);
    }

    /// Writes a gauge without labels.
    pub fn gauge(&mut self, name: &'static str, help: &str, value: f64) {
        self.family(name, help, Kind::Gauge).value(&[], value);
    }

    /// Opens a family whose figures have labels. Every family is to be opened once only.
    pub fn family(&mut self, name: &'static str, help: &str, kind: Kind) -> Family<'_> {
        debug_assert!(is_name(name), "`{name}` is no name of a metric");
        debug_assert!(
            (kind == Kind::Counter) == name.ends_with("_total"),
            "`{name}`: counters, and only they, end in `_total`"
        );
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        write(
            &mut self.text,
            format_args!("# HELP {name} {}\n# TYPE {name} {kind}\n", Escaped(help)),
        );
        Family {
            text: &mut self.text,
            name,
        }
    }
}

impl Family<'_> {
    /// Writes one figure; label values may be any text.
    pub fn value(&mut self, labels: &[(&'static str, &str)], value: f64) -> &mut Self {
        self.text.push_str(self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            debug_assert!(is_name(label), "`{label}` is no name of a label");
            let open = if index == 0 { '{' } else { ',' };
            write(
                self.text,
                format_args!("{open}{label}=\"{}\"", Escaped(text)),
            );
        }
        let close = if labels.is_empty() { "" } else { "}" };
        write(self.text, format_args!("{close} {value}\n"));
        self
    }
}

/// A text with what would end its line or its quotes escaped. The format asks for it in label values; in help
/// texts an escaped quote reads the same.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    let first = text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    first
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn write(text: &mut String, arguments: fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests;
