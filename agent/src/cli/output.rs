//! What goes to the terminal: text or JSON, with colours where they are wanted, and no fuss over a closed pipe.

use std::io::{self, IsTerminal, Write};

use crossterm::style::{Color, Stylize};
use muster_mesh::clock::unix_ms;
use serde::Serialize;

use super::args::ColorWhen;
use super::failure::Failure;

/// Nothing can be laid out on a terminal that is narrower than so many columns.
const WIDTH_MIN: u16 = 20;

/// Where answers go, and in what form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// JSON for programs instead of text for people.
    pub(crate) json: bool,
    /// Colours, or none.
    pub(crate) paint: Paint,
    /// The present, in milliseconds since 1970: what ages are counted from.
    pub(crate) now_ms: u64,
}

/// Colours, or none; and how wide the terminal is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Paint {
    color: bool,
    width: Option<u16>,
}

/// How a piece of text is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As everything else.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// On its way, or worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// Less important.
    Dim,
    /// More important.
    Bold,
}

// === impl Output ===

impl Output {
    /// Writes as the flags and the terminal want it.
    pub(crate) fn new(json: bool, color: ColorWhen) -> Self {
        let terminal = io::stdout().is_terminal();
        let size = terminal.then(crossterm::terminal::size);
        let width = size.and_then(Result::ok).map(|(width, _)| width);
        // Some terminals don't know, and say 0.
        let width = width.filter(|width| *width >= WIDTH_MIN);
        let paint = Paint::new(color, terminal).within(width);
        if paint.color {
            // crossterm heeds NO_COLOR by itself, and `--color always` outranks it.
            crossterm::style::force_color_output(true);
        }
        Self {
            json,
            paint,
            now_ms: unix_ms(),
        }
    }

    /// Prints text, with a newline at the end.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }

    /// Prints one line of JSON.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(value).map_err(|error| {
            Failure::other(format!("the answer can't be written as JSON: {error}"))
        })?;
        self.text(&line)
    }

    /// Prints JSON where that is wanted, and else what `text` makes of it.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub(crate) fn either<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&T, &Self) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            self.json(value)
        } else {
            self.text(&text(value, self))
        }
    }
}

// === impl Paint ===

impl Paint {
    /// Decides from the flag, the terminal and `NO_COLOR` (<https://no-color.org>).
    pub(crate) fn new(when: ColorWhen, terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let color = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => {
                terminal
                    && !set("NO_COLOR")
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self { color, width: None }
    }

    /// The same on a terminal of so many columns; where that is not known, lines are as long as they are.
    pub(crate) fn within(self, width: Option<u16>) -> Self {
        Self { width, ..self }
    }

    /// How many columns there are, as far as known.
    pub(crate) fn width(self) -> Option<u16> {
        self.width
    }

    /// Whether there are colours.
    pub(crate) fn is_on(self) -> bool {
        self.color
    }

    /// Text for people with its lines broken between words, where the terminal is narrower.
    pub(crate) fn fold(self, text: &str) -> String {
        match self.width {
            Some(width) => broken(text, usize::from(width)),
            None => text.to_owned(),
        }
    }

    /// Text in a tone, harmless to the terminal whoever wrote it.
    pub(crate) fn tone(self, tone: Tone, text: impl AsRef<str>) -> String {
        let text = clean(text.as_ref());
        if !self.color {
            return text;
        }
        match tone {
            Tone::Plain => text,
            Tone::Bold => text.bold().to_string(),
            Tone::Dim => text.with(Color::DarkGrey).to_string(),
            Tone::Good => text.with(Color::Green).to_string(),
            Tone::Warn => text.with(Color::Yellow).to_string(),
            Tone::Bad => text.with(Color::Red).to_string(),
        }
    }
}

/// Text whose lines are no longer than so many characters, as far as there are spaces to break them at. Colours take no
/// room.
fn broken(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut column = 0;
        for (at, word) in line.split(' ').enumerate() {
            let room = visible(word);
            if at > 0 && column > 0 && room > 0 && column + 1 + room > width {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                column = 0;
            } else if at > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += room;
        }
    }
    out
}

/// How many columns a word takes: its characters, without those that only set colours.
fn visible(word: &str) -> usize {
    let mut escaped = false;
    let shown = word.trim_end_matches('\n').chars().filter(|character| {
        let hidden = escaped || *character == '\x1b';
        escaped = hidden && *character != 'm';
        !hidden
    });
    shown.count()
}

/// The text without control characters: names and messages come from other machines, and must not move the cursor or
/// retitle the window of whoever reads them.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => ' ',
            control if control.is_control() => char::REPLACEMENT_CHARACTER,
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        let paint = Paint::default();
        assert_eq!(
            paint.tone(Tone::Bad, "a\x1b[2Jb\nc\u{9b}d"),
            "a\u{fffd}[2Jb c\u{fffd}d"
        );
    }

    #[test]
    fn long_lines_are_broken_between_words_and_colours_take_no_room() {
        let text = "nothing is done, as yet\n  as it is\n\nNAME     WHAT\n";
        assert_eq!(
            broken(text, 10),
            "nothing is\ndone, as\nyet\n  as it is\n\nNAME\nWHAT\n"
        );
        assert_eq!(
            broken("\x1b[38;5;9mnothing\x1b[39m is", 10),
            "\x1b[38;5;9mnothing\x1b[39m is"
        );
        assert_eq!(
            broken("without-any-space-at-all", 10),
            "without-any-space-at-all"
        );
    }

    #[test]
    fn colours_follow_the_flag_before_the_terminal() {
        assert!(Paint::new(ColorWhen::Always, false).is_on());
        assert!(!Paint::new(ColorWhen::Never, true).is_on());
        assert!(!Paint::new(ColorWhen::Auto, false).is_on());
    }
}
