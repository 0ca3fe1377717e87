//! `--since`: a day, or how long ago.

use clip_wgpu::{Error, Result};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

/// A moment, in nanoseconds since 1970.
pub fn moment(text: &str) -> Result<i64> {
    let wrong = || Error::Argument(format!("expected a day (2026-01-31) or how long ago (7d, 2 weeks, 3 months), found `{text}`"));
    let zoned = match (text.parse::<DateTime>(), text.parse::<Span>()) {
        (Ok(day), _) => day.to_zoned(TimeZone::system()),
        (_, Ok(span)) => Zoned::now().checked_sub(span.abs()),
        _ => return Err(wrong()),
    };
    zoned.ok().and_then(|moment| i64::try_from(moment.timestamp().as_nanosecond()).ok()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_spans() {
        let day = 86_400_000_000_000;
        let now = Zoned::now().timestamp().as_nanosecond() as i64;
        assert!((moment("7d").expect("a span") - (now - 7 * day)).abs() < day / 12); // clocks may have been changed meanwhile
        assert!((moment("2 weeks").expect("a span") - (now - 14 * day)).abs() < day / 12);
        assert!(moment("1970-01-02").expect("a day").abs() <= 2 * day);
        assert!(moment("2026-01-31T10:00").expect("a time") > moment("2026-01-31").expect("a day"));
        assert!(moment("yesterday or so").is_err());
    }
}
