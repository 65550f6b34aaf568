//! The version of Tokio, from the paths of its sources that are in a program.
//! They are there for the messages of panics.

use crate::tasks::memory::{Areas, Memory, Pages};
use crate::tasks::search::Budget;

/// Before the three numbers. Cargo unpacks a package to a folder of this form.
const BEFORE: &[u8] = b"/tokio-";
/// Behind them.
const BEHIND: &[u8] = b"/src/";
/// The longest such text: each number has at most five digits.
const MAX_TEXT_BYTES: usize = BEFORE.len() + 3 * 5 + 2 + BEHIND.len();

/// A version: major, minor, patch.
pub(crate) type Version = [u32; 3];

/// Returns the newest version whose sources a program or library names.
pub(super) fn newest(memory: &impl Memory, areas: &Areas, budget: &mut Budget) -> Option<Version> {
    let mut newest = None;
    for range in areas.images.iter().flat_map(|image| &image.data) {
        budget.search(memory, range, Pages::Used, MAX_TEXT_BYTES as u64 - 1, |_, bytes| {
            let texts = bytes.windows(MAX_TEXT_BYTES).filter(|text| text.starts_with(BEFORE));
            newest = newest.max(texts.filter_map(version).max());
        });
    }
    newest
}

fn version(text: &[u8]) -> Option<Version> {
    let text = text.strip_prefix(BEFORE)?;
    let numbers = text.get(..text.iter().position(|byte| *byte == b'/')?)?;
    let mut parts = numbers.split(|byte| *byte == b'.').map(number);
    let version = [parts.next()??, parts.next()??, parts.next()??];
    let is_whole = parts.next().is_none() && text.get(numbers.len()..)?.starts_with(BEHIND);
    is_whole.then_some(version)
}

fn number(digits: &[u8]) -> Option<u32> {
    let is_number = (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_between_the_name_and_the_sources() {
        for (text, expected) in [
            ("/tokio-1.5.0/src/runtime/mod.rs", Some([1, 5, 0])),
            ("/tokio-1.54.1/src/task", Some([1, 54, 1])),
            ("/tokio-util-0.7.1/src/", None),
            ("/tokio-1.54/src/", None),
            ("/tokio-1.54.1.2/src/", None),
            ("/tokio-1..1/src/", None),
            ("/tokio-1.54.1/tests/", None),
            ("/tokio-1.123456.1/src/", None),
            ("/tokio-1.5.0-alpha/src/", None),
            ("/tokio-", None),
            ("", None),
        ] {
            assert_eq!(version(text.as_bytes()), expected, "{text}");
        }
    }
}
