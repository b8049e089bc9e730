//! What the provider is going to do to a machine, as it announced.

use super::clock;

/// The longest code of an event that is repeated.
const CODE_CHARS_MAX: usize = 40;

/// One announcement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// From when on, in milliseconds since 1970, if it was said.
    pub from_ms: Option<u64>,
    /// What: `spot-terminate`, `instance-retirement`, `system-reboot` and so on.
    pub what: String,
}

impl Notice {
    /// A spot instance is taken back: `terminate`, `stop` or `hibernate`.
    pub(super) fn spot(action: &str, at_ms: Option<u64>) -> Self {
        Self {
            from_ms: at_ms,
            what: format!("spot-{}", code(action)),
        }
    }

    /// An event that is scheduled: `instance-stop`, `instance-retirement`, `instance-reboot`, `system-reboot`,
    /// `system-maintenance`.
    pub(super) fn scheduled(event: &str, not_before: Option<&str>) -> Self {
        Self {
            from_ms: not_before.and_then(parse_ms),
            what: code(event),
        }
    }
}

/// `2026-11-22T11:24:00.000Z` as the API writes it, or `22 Nov 2026 11:24:00 GMT` as the metadata does.
fn parse_ms(text: &str) -> Option<u64> {
    clock::parse_ms(text).or_else(|| {
        let time = jiff::fmt::strtime::parse("%d %b %Y %H:%M:%S GMT", text).ok()?;
        let time = time.to_datetime().ok()?;
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        u64::try_from(time.timestamp().as_millisecond()).ok()
    })
}

fn code(text: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    text.chars().filter(plain).take(CODE_CHARS_MAX).collect()
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        let time = self.from_ms.and_then(|ms| i64::try_from(ms).ok());
        match time.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
            Some(time) => write!(f, " from {time:.0}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_write_a_time_are_read() {
        let one = Notice::scheduled("system-reboot", Some("22 Nov 2026 11:24:00 GMT"));
        let other = Notice::scheduled("system-reboot", Some("2026-11-22T11:24:00.000Z"));
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "system-reboot from 2026-11-22T11:24:00Z");
        let spot = Notice::spot("terminate\nnow", None);
        assert_eq!(spot.to_string(), "spot-terminatenow");
        assert_eq!(Notice::scheduled("x", Some("soon")).from_ms, None);
    }
}
