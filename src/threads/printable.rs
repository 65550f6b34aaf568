//! Text that a process has, such as a name of a function, as text that can be
//! shown.

use crate::finding::Frame;

/// The maximum number of characters that are shown.
const MAX_CHARACTERS: usize = 1024;

/// Returns the text without control characters, and cut if it is long.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(MAX_CHARACTERS).map(shown).collect()
}

/// Returns the frame with names that can be shown.
pub(super) fn printable_frame(frame: Frame) -> Frame {
    Frame { function: printable(&frame.function), file: frame.file.as_deref().map(printable), ..frame }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_no_control_characters_and_a_bounded_length() {
        assert_eq!(printable("a\u{1b}[31mb\nc\u{9b}"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}");
        assert_eq!(printable(&"\u{e4}".repeat(5000)).chars().count(), MAX_CHARACTERS);
    }
}
