//! Numbers for the eye.

/// Nanoseconds, in the unit that suits them.
pub(crate) fn duration_ns(nanoseconds: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    duration(nanoseconds as f64 / 1e9)
}

/// Seconds, in the unit that suits them: three digits.
pub(crate) fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 999.5e-6 => (s * 1e6, "µs"),
        s if s < 0.9995 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A count with its thousands apart.
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

/// A count with its noun: `1 stall`, `2 stalls`.
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
            (0.0, "0.00 µs"),
            (85.0e-6, "85.0 µs"),
            (0.000_999_9, "1.00 ms"),
            (0.2123, "212 ms"),
            (0.9999, "1.00 s"),
            (10.64, "10.6 s"),
            (3600.0, "3600 s"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn counts_have_their_thousands_apart() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(76_000), "76,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "stall"), "1 stall");
    }
}
