//! Truncates texts between characters.

/// Returns the longest prefix of `text` with at most `max_bytes` bytes that
/// splits no character.
///
/// Half a character at the end makes some clients read the whole line as
/// Latin-1. Text that is not UTF-8 is cut at the limit.
pub(crate) fn truncate(text: &[u8], max_bytes: usize) -> &[u8] {
    let Some(&(mut next)) = text.get(max_bytes) else { return text };
    let is_continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    let mut end = max_bytes;
    // A character has at most three bytes after its first one.
    while is_continuation(next) && end > 0 && end + 3 > max_bytes {
        end -= 1;
        next = text[end];
    }
    if next >= 0b1100_0000 { &text[..end] } else { &text[..max_bytes] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_that_is_not_utf8_is_cut_at_the_limit() {
        assert_eq!(truncate(b"x\xe4\xf6\xfc", 3), b"x\xe4\xf6");
        assert_eq!(truncate(b"x\x80\x80\x80\x80", 4), b"x\x80\x80\x80");
        assert_eq!(truncate(b"\x80\x80", 1), b"\x80");
        assert_eq!(truncate("€".as_bytes(), 0), b"");
    }

    proptest! {
        #[test]
        fn a_character_is_kept_whole_or_dropped(text in "[a-zä€😀]{0,20}", max_bytes in 0usize..80) {
            let mut end = max_bytes.min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            prop_assert_eq!(truncate(text.as_bytes(), max_bytes), &text.as_bytes()[..end]);
        }

        #[test]
        fn at_most_three_bytes_are_lost(text in proptest::collection::vec(any::<u8>(), 0..40), max_bytes in 0usize..50) {
            let kept = truncate(&text, max_bytes).len();
            prop_assert!(kept <= max_bytes && kept + 3 >= max_bytes.min(text.len()));
        }
    }
}
