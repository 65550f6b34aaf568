//! Text in lines that fit into a number of columns.

use unicode_width::UnicodeWidthStr;

/// Returns the number of columns that a terminal shows `text` in.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// Breaks `text` at spaces into lines of at most `columns`. A longer word has a
/// line of its own, so that a path can still be clicked and copied. A number
/// and its unit stay together, and code in backticks if it fits into a line.
///
/// # Examples
///
/// ```
/// let text = loopscope::report::wrapped("blocked for 1.2 s in all", 15);
/// assert_eq!(text, "blocked for\n1.2 s in all");
/// ```
#[must_use]
pub fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = String::with_capacity(text.len());
    let mut used = None::<usize>;
    let parts = words(text).flat_map(|word| {
        let is_split = width(word) > columns;
        word.split(move |c| is_split && c == ' ')
    });
    for word in parts {
        let word_width = width(word);
        used = match used.map(|used| used + 1 + word_width) {
            None => Some(word_width),
            Some(with_word) if with_word <= columns => {
                lines.push(' ');
                Some(with_word)
            }
            Some(_) => {
                lines.push('\n');
                Some(word_width)
            }
        };
        lines.push_str(word);
    }
    lines
}

/// Splits at each space that is neither in backticks nor between a number and
/// its unit.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let is_break = |(at, _): &(usize, &str)| {
            let (word, behind) = (&text[..*at], &text[at + 1..]);
            let next = behind.split(' ').next().unwrap_or_default();
            let is_in_code = word.matches('`').count() % 2 == 1;
            let is_before_unit = word.ends_with(|c: char| c.is_ascii_digit()) && is_unit(next);
            !is_in_code && !is_before_unit
        };
        let found = text.match_indices(' ').find(is_break);
        rest = found.map(|(at, _)| &text[at + 1..]);
        Some(found.map_or(text, |(at, _)| &text[..at]))
    })
}

fn is_unit(word: &str) -> bool {
    let unit = word.trim_end_matches([',', ';', ':', '.', ')']);
    matches!(unit, "d" | "h" | "min" | "s" | "ms" | "µs" | "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_full_and_words_stay_whole() {
        for (text, columns, expected) in [
            ("", 10, ""),
            ("one two three", 13, "one two three"),
            ("one two three", 12, "one two\nthree"),
            ("one two three", 3, "one\ntwo\nthree"),
            ("a src/services/history.rs:7:13 b", 10, "a\nsrc/services/history.rs:7:13\nb"),
            ("two  spaces", 20, "two  spaces"),
        ] {
            assert_eq!(wrapped(text, columns), expected);
        }
    }

    #[test]
    fn a_number_and_its_unit_stay_together() {
        assert_eq!(wrapped("for 1.2 s, 40 ms (80 %) in all", 9), "for\n1.2 s,\n40 ms\n(80 %) in\nall");
        assert_eq!(words("in 3 steps of 5 s").collect::<Vec<_>>(), ["in", "3", "steps", "of", "5 s"]);
    }

    #[test]
    fn code_stays_together_if_it_fits() {
        let advice = "use `spawn_blocking(move || ..).await`";
        assert_eq!(wrapped(advice, 34), "use\n`spawn_blocking(move || ..).await`");
        assert_eq!(wrapped(advice, 33), "use `spawn_blocking(move ||\n..).await`");
        assert_eq!(wrapped("a ` b", 3), "a\n` b");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(width("好a"), 3);
        assert_eq!(width("größe"), 5);
        assert_eq!(wrapped("好好 好好", 8), "好好\n好好");
        assert_eq!(wrapped("好好 好好", 9), "好好 好好");
    }
}
