//! Bounds the length of label values: one that is too long makes Prometheus
//! reject the whole scrape, if `label_value_length_limit` is set.

use std::borrow::Cow;

use crate::stable_hash::fnv1a;

/// The limit on the length of a label value.
pub(crate) const MAX_LABEL_VALUE_BYTES: usize = 128;

const ELLIPSIS: &str = "\u{2026}";
const HASH_DIGITS: usize = 16;
/// How many bytes remain at the begin, and how many at the end.
const KEPT_BYTES: usize = (MAX_LABEL_VALUE_BYTES - HASH_DIGITS - 2 * ELLIPSIS.len()) / 2;

/// Returns `value`, cut in the middle if it is too long: a path is known by its
/// end, and most other names by their begin. A hash of the whole value keeps
/// the values that were cut distinct.
pub(crate) fn bounded(value: &str) -> Cow<'_, str> {
    if value.len() <= MAX_LABEL_VALUE_BYTES {
        return Cow::Borrowed(value);
    }
    let begin = &value[..value.floor_char_boundary(KEPT_BYTES)];
    let end = &value[value.ceil_char_boundary(value.len() - KEPT_BYTES)..];
    let hash = fnv1a(value.as_bytes());
    Cow::Owned(format!("{begin}{ELLIPSIS}{hash:0HASH_DIGITS$x}{ELLIPSIS}{end}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn values_up_to_the_limit_do_not_change() {
        let longest = "x".repeat(MAX_LABEL_VALUE_BYTES);
        for value in ["", "session", "\u{e9}\n\"", &longest] {
            assert_eq!(bounded(value), value);
        }
    }

    #[test]
    fn longer_values_keep_their_begin_and_end() {
        let value = format!("task::begin{}src/end.rs:31", "x".repeat(10_000));
        let cut = bounded(&value);
        assert_eq!(cut.len(), MAX_LABEL_VALUE_BYTES);
        assert!(cut.starts_with("task::beginxx") && cut.ends_with("xxsrc/end.rs:31"), "{cut}");
    }

    #[test]
    fn values_that_differ_only_in_the_part_that_is_cut_stay_distinct() {
        let name = |n: u32| format!("{}{n}{}", "a".repeat(200), "b".repeat(200));
        let cut: BTreeSet<_> = (0..10_000).map(|n| bounded(&name(n)).into_owned()).collect();
        assert_eq!(cut.len(), 10_000);
        assert_eq!(bounded(&name(1)), bounded(&name(1)));
    }

    #[test]
    fn no_character_is_cut() {
        for c in ["\u{e9}", "\u{2026}", "\u{1f980}"] {
            for offset in 0..4 {
                let value = format!("{}{}{}", "x".repeat(offset), c.repeat(200), "y".repeat(offset));
                let cut = bounded(&value);
                assert!(cut.len() <= MAX_LABEL_VALUE_BYTES, "{cut}");
                assert!(cut.len() > MAX_LABEL_VALUE_BYTES - 2 * c.len(), "{cut}");
            }
        }
    }
}
