//! Numbers and times as words.

use std::time::Duration;

use loopscope::report;

/// Times of more seconds are not real.
const MAX_SECONDS: f64 = 1e10;

/// Formats a number with separators: `4,812`.
pub(super) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats `n` with the noun in singular or plural.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

/// Formats a time with three digits and a unit. A value that is no time is
/// zero.
pub(super) fn time(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.clamp(0.0, MAX_SECONDS) } else { 0.0 };
    report::duration(Duration::from_secs_f64(seconds))
}

/// Formats a number of bytes with three digits and a unit.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1_000.0, unit + 1);
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        for (n, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(n), expected);
        }
        assert_eq!(count(1, "task", "tasks"), "1 task");
        assert_eq!(count(2_000, "task", "tasks"), "2,000 tasks");
    }

    #[test]
    fn sizes_have_three_digits() {
        for (n, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (2_000_000, "2.00 MB"),
            (34_560_000, "34.6 MB"),
            (999_600_000, "1.00 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(n), expected);
        }
    }

    #[test]
    fn what_is_no_time_does_not_panic() {
        for seconds in [f64::NAN, f64::INFINITY, -1.0, f64::MAX] {
            assert!(!time(seconds).is_empty());
        }
        assert_eq!(time(1.234), "1.23 s");
    }
}
