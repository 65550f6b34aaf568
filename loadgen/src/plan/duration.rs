//! Durations in flags: a number with a unit, up to a limit.

use std::time::Duration;

/// The longest duration of a flag, and of all stages together: a year. Sums of
/// a few of them and an instant cannot overflow.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number with a unit, such as 500ms, 20s or 2m"))?;
    if duration > MAX_DURATION {
        return Err(too_long());
    }
    Ok(duration)
}

pub(super) fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text)?;
    if duration.is_zero() {
        return Err("it must be longer than zero".into());
    }
    Ok(duration)
}

/// Returns the reason why a duration above [`MAX_DURATION`] is refused.
pub(super) fn too_long() -> String {
    format!("it must be at most {}days", MAX_DURATION.as_secs() / (24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_a_limit() {
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("365days"), Ok(MAX_DURATION));
        for (text, reason) in [
            ("5", "such as 500ms"),
            ("-5s", "such as 500ms"),
            ("365days 1ns", "at most 365days"),
            ("18446744073709551615s", "at most 365days"),
            ("18446744073709551616s", "such as 500ms"),
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(parse_positive_duration("0s").is_err_and(|error| error.contains("longer than zero")));
    }
}
