//! Times: the clock that requests are signed by, and those that EC2 writes.

use std::time::SystemTime;

/// The time of this computer: signatures are worth five minutes around it.
#[expect(
    clippy::disallowed_methods,
    reason = "provisioners don't know the mesh; this is this one's look at the clock"
)]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// The same in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// A time such as `2026-11-22T11:24:00.000Z`, in milliseconds since 1970.
pub(super) fn parse_ms(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_ec2_are_read() {
        assert_eq!(parse_ms("1970-01-01T00:00:01.500Z"), Some(1500));
        assert_eq!(parse_ms("1969-01-01T00:00:00Z"), None);
        assert_eq!(parse_ms("soon"), None);
    }
}
