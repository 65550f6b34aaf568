//! Times and counts, formatted for people.

use std::time::Duration;

/// Returns `nanoseconds` as [`duration`] formats them.
pub(crate) fn duration_ns(nanoseconds: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three significant digits")]
    duration(nanoseconds as f64 / 1e9)
}

/// Returns `seconds` with three significant digits and a unit that fits, such
/// as `12 ms` or `2.41 s`. This is the format of the library's findings, which
/// are printed in the same output.
pub(crate) fn duration(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) => loopscope::report::duration(duration),
        Err(_) => "an unknown time".to_owned(),
    }
}

/// Returns `number` with a comma after each thousand: `76,000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns `number` with its noun: `1 stall`, `2 stalls`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_fitting_unit() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (85.0e-6, "85 µs"),
            (0.000_999_9, "1 ms"),
            (0.2123, "212 ms"),
            (0.9999, "1 s"),
            (10.64, "10.6 s"),
            (900.0, "900 s"),
            (3600.0, "60 min"),
            (f64::NAN, "an unknown time"),
            (-1.0, "an unknown time"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn counts_have_a_comma_after_each_thousand() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(76_000), "76,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "stall"), "1 stall");
    }
}
