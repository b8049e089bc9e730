//! Texts for people, short by construction.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// The longest text in bytes that the fleet state keeps in one place.
///
/// Long enough for an error of a cloud's API with its request ID; short enough that full rings of decisions and
/// events stay below a few megabytes.
pub const TEXT_BYTES_MAX: usize = 400;

/// A text for people of at most [`TEXT_BYTES_MAX`] bytes; what is longer is cut, and ends in `…`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Text(String);

impl Text {
    /// Takes a text, cutting it where it is too long.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.len() > TEXT_BYTES_MAX {
            let end = text.floor_char_boundary(TEXT_BYTES_MAX - '…'.len_utf8());
            text.truncate(end);
            text.push('…');
        }
        Self(text)
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

/// A span of time in plain words: `0.4 s`, `12 s`, `5 min 3 s`, `2 h 5 min`, `3 d 4 h`.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 if ms > 0 => format!("0.{} s", (ms / 100).max(1)),
        0..=119 => format!("{seconds} s"),
        120..=7199 => two(seconds / 60, "min", seconds % 60, "s"),
        7200..=172_799 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

fn two(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

/// The time of day, as in `14:03:20 UTC`.
pub fn clock_time(at_ms: u64) -> String {
    let seconds = at_ms / 1000 % 86_400;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
}

/// `1 machine`, `3 machines`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = Text::new("ä".repeat(TEXT_BYTES_MAX));
        assert!(text.len() <= TEXT_BYTES_MAX);
        assert!(text.ends_with("ä…"));
        let bytes = postcard::to_stdvec(&"x".repeat(5000)).unwrap();
        assert_eq!(
            postcard::from_bytes::<Text>(&bytes).unwrap().len(),
            TEXT_BYTES_MAX
        );
    }

    #[test]
    fn spans_read_well() {
        let cases = [
            (0, "0 s"),
            (40, "0.1 s"),
            (400, "0.4 s"),
            (12_345, "12 s"),
            (303_000, "5 min 3 s"),
            (7_500_000, "2 h 5 min"),
            (259_200_000, "3 d"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(ms), text);
        }
    }
}
