//! Times as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How long ago, in one unit: `0s`, `95s`, `12m`, `5h`, `3d`. What is in the future is `0s`.
pub(crate) fn age(at_ms: u64, now_ms: u64) -> String {
    span(now_ms.saturating_sub(at_ms))
}

/// A span of milliseconds in one unit.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..6_000 => format!("{}m", seconds / 60),
        6_000..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A short span with its fraction: `240 ms`, `1.5 s`, `12 s`.
pub(crate) fn precise(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{} s", ms / 1_000),
    }
}

/// How long from now, in one unit, for what may be over.
pub(crate) fn until(at_ms: u64, now_ms: u64) -> String {
    if at_ms <= now_ms {
        return "over".into();
    }
    // What was given 24 h a moment ago ends in 24 h, not in 23.
    let seconds = (at_ms - now_ms).div_ceil(1000);
    match seconds {
        0..120 => format!("in {seconds}s"),
        120..6_000 => format!("in {}m", (seconds + 30) / 60),
        6_000..172_800 => format!("in {}h", (seconds + 1_800) / 3_600),
        _ => format!("in {}d", (seconds + 43_200) / 86_400),
    }
}

/// The time of day here.
pub(crate) fn clock(at_ms: u64) -> String {
    format(at_ms, "%H:%M:%S")
}

/// Date and time here.
pub(crate) fn date_and_clock(at_ms: u64) -> String {
    format(at_ms, "%Y-%m-%d %H:%M:%S")
}

/// RFC 3339 in UTC with milliseconds, as in all JSON.
pub(crate) fn rfc3339(at_ms: u64) -> String {
    timestamp(at_ms).map_or_else(|| at_ms.to_string(), |time| format!("{time:.3}"))
}

fn format(at_ms: u64, pattern: &str) -> String {
    timestamp(at_ms).map_or_else(
        || at_ms.to_string(),
        |time| {
            time.to_zoned(TimeZone::system())
                .strftime(pattern)
                .to_string()
        },
    )
}

fn timestamp(at_ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let shown: Vec<_> = [
            0,
            999,
            3_000,
            119_999,
            120_000,
            5_999_000,
            6_000_000,
            172_800_000,
        ]
        .map(|ms| age(0, ms))
        .to_vec();
        assert_eq!(shown, ["0s", "0s", "3s", "119s", "2m", "99m", "1h", "2d"]);
        assert_eq!(age(10, 5), "0s");
        assert_eq!(until(5, 10), "over");
        assert_eq!(until(65_000, 5_000), "in 60s");
        assert_eq!(until(24 * 3_600_000 - 1, 0), "in 24h");
        assert_eq!(until(90 * 86_400_000 - 5_000, 0), "in 90d");
        assert_eq!(
            [precise(240), precise(1_590), precise(12_345)],
            ["240 ms", "1.5 s", "12 s"]
        );
    }

    #[test]
    fn rubbish_times_are_shown_as_they_are() {
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(u64::MAX), u64::MAX.to_string());
        assert_eq!(clock(u64::MAX), u64::MAX.to_string());
    }
}
