//! The texts of a report: durations, counts, and the title of a finding.

use std::time::Duration;

use crate::finding::{Cause, Finding, TaskShare};

/// A longer name or path is cut.
const MAX_NAME_CHARS: usize = 300;
/// Further parts of an advice are left out.
#[cfg(feature = "diagnostic")]
const MAX_ADVICE_PARTS: usize = 8;
/// How many task kinds a report names.
const MAX_TASK_KINDS: usize = 4;

/// Escapes and cuts `text` so that it cannot move the cursor, change colours,
/// reorder or hide the text around it, or fill the screen. Names and paths that
/// come from a program need this before a terminal gets them.
///
/// # Examples
///
/// ```
/// assert_eq!(loopscope::report::printable("a\x1b[2Jb\n"), r"a\u{1b}[2Jb\u{a}");
/// ```
#[must_use]
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for (n, c) in text.chars().enumerate() {
        if n == MAX_NAME_CHARS {
            clean.push('…');
            break;
        }
        if is_printable(c) {
            clean.push(c);
        } else {
            clean.extend(c.escape_unicode());
        }
    }
    clean
}

/// Returns whether `c` is printed as itself: it is not a control character, not
/// invisible, and does not change the direction of the text around it.
pub(super) fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Formats `duration` as the reports do, with the largest unit that fits of µs,
/// ms, s, min, h and d, and up to three significant digits: `12 ms`, `2.41 s`,
/// `16.7 min`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(loopscope::report::duration(Duration::from_micros(12_340)), "12.3 ms");
/// ```
#[must_use]
pub fn duration(duration: Duration) -> String {
    // Values that would be rounded to 1000 get the next larger unit.
    let (value, unit) = match duration.as_secs_f64() {
        s if s >= 999.5 * 3600.0 => (s / 86_400.0, "d"),
        s if s >= 999.5 * 60.0 => (s / 3600.0, "h"),
        s if s >= 999.5 => (s / 60.0, "min"),
        s if s >= 0.999_5 => (s, "s"),
        s if s >= 0.000_999_5 => (s * 1e3, "ms"),
        s if s > 0.0 => (s * 1e6, "µs"),
        _ => return "0 s".to_owned(),
    };
    let digits = match value {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let number = format!("{value:.digits$}");
    let number = if digits > 0 { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number} {unit}")
}

/// Returns module and kind of an async block or closure without a name.
#[cfg(feature = "diagnostic")]
pub(crate) fn nameless(function: &str) -> Option<(&str, &str)> {
    function.rsplit_once("::").filter(|(_, kind)| kind.starts_with('{'))
}

/// Rounds `value` to three significant digits, as a number for people.
pub(super) fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// Returns where a site or frame is: `file:line:column`, or what is known of
/// it. Editors open such a text at the call.
pub(super) fn location(file: &str, line: Option<u32>, column: Option<u32>) -> String {
    let mut location = clean(file);
    for number in [line, line.and(column)].into_iter().flatten() {
        location.push_str(&format!(":{number}"));
    }
    location
}

/// Formats `n` with the noun in singular or plural.
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Returns a sentence that says what blocked, how often and for how long.
pub(crate) fn title(finding: &Finding) -> String {
    let subject = subject(finding);
    match finding.ongoing {
        Some(age) => {
            format!("{subject} has been blocking the event loop for {}", duration(age))
        }
        None if finding.count == 1 => {
            format!("{subject} blocked the event loop once, for {}", duration(finding.total))
        }
        None => format!("{subject} blocked the event loop {}", totals(finding)),
    }
}

/// Returns the totals of a finding with a stall in progress, unless that is its
/// only stall.
#[cfg(feature = "diagnostic")]
pub(super) fn so_far(finding: &Finding) -> Option<String> {
    (finding.ongoing.is_some() && finding.count > 1).then(|| totals(finding))
}

fn totals(finding: &Finding) -> String {
    let times = count(finding.count, "time", "times");
    let (total, max) = (duration(finding.total), duration(finding.max));
    format!("{times}, {total} in all, {max} at most")
}

/// Returns the task kind of a finding. If it has several, returns those with
/// the most time and the part of the finding's time that each of them has.
pub(crate) fn tasks(finding: &Finding) -> String {
    if finding.tasks.len() < 2 {
        return clean(&finding.task.kind);
    }
    let total = finding.tasks.iter().map(|share| share.total.as_secs_f64()).sum::<f64>();
    let share = |share: &TaskShare| {
        let kind = clean(&share.kind);
        match share.total.as_secs_f64() / total * 100.0 {
            percent if percent >= 0.5 => format!("{kind} ({percent:.0} %)"),
            _ => format!("{kind} (< 1 %)"),
        }
    };
    let mut shares: Vec<_> = finding.tasks.iter().take(MAX_TASK_KINDS).map(share).collect();
    let rest = finding.tasks.len().saturating_sub(MAX_TASK_KINDS);
    if rest > 0 {
        shares.push(count(rest as u64, "more kind", "more kinds"));
    }
    shares.join(", ")
}

/// Returns the advice. Each of its parts is short; all of them together may
/// not be, and the last one may be the one that helps most.
#[cfg(feature = "diagnostic")]
pub(crate) fn advice(finding: &Finding) -> String {
    let parts: Vec<_> = finding.advice.split("; ").take(MAX_ADVICE_PARTS).map(clean).collect();
    parts.join("; ")
}

/// Returns what blocked: the call, if it is known, or the cause.
fn subject(finding: &Finding) -> String {
    let is_polling_cause = matches!(finding.cause, Cause::Hog | Cause::Unyielding);
    if let Some(primitive) = finding.primitive.as_ref().filter(|_| !is_polling_cause) {
        return format!("`{}`", clean(primitive));
    }
    let subject = match finding.cause {
        Cause::Cpu => "a computation",
        Cause::Sleep => "a synchronous sleep",
        Cause::File => "a call on a file",
        Cause::Network => "a call on a socket",
        Cause::Dns => "a host name lookup",
        Cause::Lock => "waiting for a lock",
        Cause::Channel => "waiting for a message on a synchronous channel",
        Cause::Child => "waiting for a child process",
        Cause::Uninterruptible => "an uninterruptible system call",
        Cause::Other => "an unidentified call",
        Cause::Hog => "a series of short polls of one task",
        Cause::Unyielding => "a task whose awaits are all ready immediately",
    };
    subject.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0 s"),
            (0.000_012, "12 µs"),
            (0.000_999_4, "999 µs"),
            (0.000_999_9, "1 ms"),
            (0.012, "12 ms"),
            (0.012_34, "12.3 ms"),
            (0.212, "212 ms"),
            (0.999_4, "999 ms"),
            (0.999_9, "1 s"),
            (2.41, "2.41 s"),
            (9.999, "10 s"),
            (100.0, "100 s"),
            (999.4, "999 s"),
            (999.6, "16.7 min"),
            (12_345.6, "206 min"),
            (59_990.0, "16.7 h"),
            (1e6, "278 h"),
            (4e6, "46.3 d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn titles_say_what_blocked_how_often_and_for_how_long() {
        let mut finding = sample::sleep();
        assert_eq!(
            title(&finding),
            "`std::thread::sleep` blocked the event loop 12 times, 2.41 s in all, 212 ms at most"
        );
        finding.ongoing = Some(Duration::from_millis(1_200));
        assert_eq!(title(&finding), "`std::thread::sleep` has been blocking the event loop for 1.2 s");
        finding.count = 1;
        assert_eq!(title(&finding), "`std::thread::sleep` has been blocking the event loop for 1.2 s");
        finding.ongoing = None;
        finding.primitive = None;
        assert_eq!(title(&finding), "a synchronous sleep blocked the event loop once, for 2.41 s");
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, expected) in [
            (2.974_014_836_000_000_3, 2.97),
            (0.0, 0.0),
            (0.020_090_197_699, 0.0201),
            (212.5, 212.0),
            (0.000_999_9, 0.001),
            (12_345.6, 12_300.0),
        ] {
            assert_eq!(rounded(value).to_string(), expected.to_string());
        }
    }

    #[test]
    fn several_task_kinds_are_named_with_their_shares() {
        let mut finding = sample::sleep();
        assert_eq!(tasks(&finding), "session");
        let share = |kind: &str, ms| TaskShare {
            kind: kind.to_owned(),
            spawned_at: None,
            count: 1,
            total: Duration::from_millis(ms),
        };
        finding.tasks = vec![share("a", 800), share("b", 198), share("c\n", 2)];
        assert_eq!(tasks(&finding), r"a (80 %), b (20 %), c\u{a} (< 1 %)");
        finding.tasks.extend(["d", "e", "f"].map(|kind| share(kind, 0)));
        assert!(tasks(&finding).ends_with("d (< 1 %), 2 more kinds"), "{}", tasks(&finding));
    }

    #[test]
    fn cleaned_text_is_one_line_of_printable_characters() {
        assert_eq!(clean("a\x1b[31mb\r\n\u{202e}c"), r"a\u{1b}[31mb\u{d}\u{a}\u{202e}c");
        assert_eq!(clean("größe 好"), "größe 好");
        assert_eq!(clean(&"x".repeat(1_000)).chars().count(), MAX_NAME_CHARS + 1);
    }
}
