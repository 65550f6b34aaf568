//! Masks: `*` matches any bytes and `?` one byte. Letters compare as in RFC
//! 1459.

use crate::irc::names::fold;

/// Returns whether `mask` matches all of `text`.
///
/// The worst-case time is proportional to the product of the lengths. Lines of
/// 512 bytes bound it.
pub(crate) fn matches(mask: &[u8], text: &[u8]) -> bool {
    let (mut mask_at, mut text_at) = (0, 0);
    // The position after the last star, and the end of the text that the star
    // matches. The star takes one more byte each time the rest does not match.
    let mut star: Option<(usize, usize)> = None;
    while text_at < text.len() {
        match mask.get(mask_at) {
            Some(b'*') => {
                star = Some((mask_at + 1, text_at));
                mask_at += 1;
            }
            Some(&byte) if byte == b'?' || fold(byte) == fold(text[text_at]) => {
                mask_at += 1;
                text_at += 1;
            }
            _ => match &mut star {
                Some((after, end)) => {
                    *end += 1;
                    (mask_at, text_at) = (*after, *end);
                }
                None => return false,
            },
        }
    }
    mask[mask_at..].iter().all(|&byte| byte == b'*')
}

/// Completes a mask to its full form, `nick!user@host`.
pub(crate) fn full_user_mask(text: &[u8]) -> Box<[u8]> {
    let has = |byte: u8| text.contains(&byte);
    match (has(b'!'), has(b'@')) {
        (true, true) => text.into(),
        (true, false) => [text, b"@*"].concat().into(),
        (false, true) => [b"*!", text].concat().into(),
        (false, false) => [text, b"!*@*"].concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_masks_are_completed() {
        for (short, full) in
            [("ada", "ada!*@*"), ("a!b", "a!b@*"), ("b@c", "*!b@c"), ("a!b@c", "a!b@c"), ("", "!*@*")]
        {
            assert_eq!(&*full_user_mask(short.as_bytes()), full.as_bytes());
        }
    }

    #[test]
    fn letters_match_in_either_case() {
        assert!(matches(b"ADA[]!*@*", b"ada{}!x@y"));
    }

    /// A slow reference implementation by recursion.
    fn matches_by_recursion(mask: &[u8], text: &[u8]) -> bool {
        match (mask.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => matches_by_recursion(rest, text),
            (Some((b'*', rest)), Some((_, tail))) => {
                matches_by_recursion(rest, text) || matches_by_recursion(mask, tail)
            }
            (Some((byte, rest)), Some((first, tail))) => {
                (*byte == b'?' || fold(*byte) == fold(*first)) && matches_by_recursion(rest, tail)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_plain_recursion(mask in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(matches(mask.as_bytes(), text.as_bytes()), matches_by_recursion(mask.as_bytes(), text.as_bytes()));
        }
    }

    /// The test vectors of irc-parser-tests, by Daniel Oaks, in the public
    /// domain (CC0).
    #[test]
    fn the_test_vectors_match() {
        #[derive(serde::Deserialize)]
        struct File {
            tests: Vec<Case>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            mask: String,
            matches: Vec<String>,
            fails: Vec<String>,
        }
        let file: File =
            serde_norway::from_str(include_str!("../../tests/vectors/mask-match.yaml")).expect("YAML");
        assert!(file.tests.len() >= 6);
        for case in file.tests {
            for text in &case.matches {
                assert!(matches(case.mask.as_bytes(), text.as_bytes()), "{} {text}", case.mask);
            }
            for text in &case.fails {
                assert!(!matches(case.mask.as_bytes(), text.as_bytes()), "{} {text}", case.mask);
            }
        }
    }
}
