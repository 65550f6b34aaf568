//! The source line of a finding, if its file is readable on this machine.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::diagnose::roots::{self, RootsOfProcess};
#[cfg(any(feature = "telemetry", test))]
use crate::finding::Site;
use crate::report::text::is_printable;

/// A larger source file is not read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A longer line is cut.
#[cfg(any(feature = "telemetry", test))]
const MAX_LINE_CHARS: usize = 160;

/// Returns the line of a site as it is shown in a document: without tabs, and
/// cut if it is long. `None` if it is not at hand, or if the file has changed.
#[cfg(any(feature = "telemetry", test))]
pub(crate) fn of_site(site: &Site) -> Option<String> {
    let line = read_whole(site.file.as_deref()?, site.line?)?;
    let is_unchanged = site.column.is_none_or(|column| code_at(&line, column).is_some());
    is_unchanged.then(|| excerpt(&line.replace('\t', "    ")))
}

/// Returns the text from a column on, which is counted from 1 in bytes. `None`
/// if no code is there: the file has changed since it was compiled.
pub(crate) fn code_at(line: &str, column: u32) -> Option<&str> {
    let begin = usize::try_from(column).ok()?.checked_sub(1)?;
    line.get(begin..).filter(|rest| rest.starts_with(|c: char| !c.is_whitespace()))
}

/// Returns the text of a whole line, cut if it is long. A character has the
/// same column in both.
#[cfg(any(feature = "telemetry", test))]
pub(crate) fn excerpt(line: &str) -> String {
    // The end of the line is not printable either.
    printable(line.trim_end()).chars().take(MAX_LINE_CHARS).collect()
}

/// Converts a column in bytes of a whole line to a column in characters, both
/// counted from 1. `None` if the line has no character at that column.
#[cfg(any(feature = "telemetry", test))]
pub(crate) fn column_in_chars(line: &str, column: u32) -> Option<u32> {
    let before = line.get(..usize::try_from(column).ok()?.checked_sub(1)?)?;
    u32::try_from(before.chars().count() + 1).ok()
}

/// Returns line `line`, counted from 1, of the file at `path`, as it is in the
/// file. A relative path is tried in the directories where this process was
/// compiled, then in the current directory. `None` if no such regular file or
/// line exists, or if the line is blank.
pub(crate) fn read_whole(path: &str, line: u32) -> Option<String> {
    let RootsOfProcess { roots, other_owner } = roots::source_roots();
    let in_roots = roots.into_iter().map(|root| root.join(path));
    // The sources of another process are not in this one's directory.
    let here = other_owner.is_none().then(|| PathBuf::from(path));
    in_roots.chain(here).find_map(|path| read_at(&path, line, other_owner))
}

/// Reads a line of a file, if `reader`, or everybody, may read it.
fn read_at(path: &Path, line: u32, reader: Option<u32>) -> Option<String> {
    // Checked before the file is opened: opening a pipe waits for its writer.
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return None;
    }
    let file = File::open(path).ok()?;
    if !reader.is_none_or(|user| may_read(user, &file)) {
        return None;
    }
    nth_line(file.take(MAX_FILE_BYTES), line)
}

/// Returns whether a user may read an open file, as far as its mode says so.
#[cfg(unix)]
fn may_read(user: u32, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    const OTHERS_MAY_READ: u32 = 0o004;
    const OWNER_MAY_READ: u32 = 0o400;
    file.metadata().is_ok_and(|file| {
        file.mode() & OTHERS_MAY_READ != 0 || file.uid() == user && file.mode() & OWNER_MAY_READ != 0
    })
}

#[cfg(not(unix))]
fn may_read(_: u32, _: &File) -> bool {
    false
}

fn nth_line(source: impl Read, line: u32) -> Option<String> {
    let mut source = BufReader::new(source);
    let mut bytes = Vec::new();
    for _ in 0..line {
        bytes.clear();
        if source.read_until(b'\n', &mut bytes).ok()? == 0 {
            return None;
        }
    }
    let line = String::from_utf8_lossy(&bytes);
    (!line.trim().is_empty()).then(|| line.into_owned())
}

/// Replaces each unprintable character but tabs by one printable character.
pub(super) fn printable(line: &str) -> String {
    let shown = |c: char| if c == '\t' || is_printable(c) { c } else { char::REPLACEMENT_CHARACTER };
    line.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn read(path: &str, line: u32) -> Option<String> {
        read_at_column(path, line, None)
    }

    fn read_at_column(path: &str, line: u32, column: Option<u32>) -> Option<String> {
        let site = sample::sleep().site.unwrap();
        of_site(&Site { file: Some(path.to_owned()), line: Some(line), column, ..site })
    }

    #[test]
    fn a_line_without_code_at_the_column_is_not_shown() {
        for (column, is_shown) in [(1, true), (3, true), (4, false), (5, true), (0, false), (999, false)] {
            assert_eq!(read_at_column("src/finding.rs", 1, Some(column)).is_some(), is_shown, "{column}");
        }
        assert_eq!(code_at("größe()", 4), None, "inside of a character");
    }

    #[test]
    fn lines_are_counted_from_one() {
        let source = b"first\n\tsecond  \r\nthird".as_slice();
        assert_eq!(nth_line(source, 1).as_deref(), Some("first\n"));
        assert_eq!(nth_line(source, 2).as_deref(), Some("\tsecond  \r\n"));
        assert_eq!(nth_line(source, 3).as_deref(), Some("third"));
        for absent in [0, 4, u32::MAX] {
            assert_eq!(nth_line(source, absent), None, "{absent}");
        }
        assert_eq!(nth_line(b"   \t\n".as_slice(), 1), None);
    }

    #[test]
    fn unprintable_characters_are_replaced() {
        let source = b"\tlet a = \"\xff\x1b[31m\";".as_slice();
        let line = nth_line(source, 1).unwrap();
        assert_eq!(printable(&line), "\tlet a = \"\u{fffd}\u{fffd}[31m\";");
    }

    #[test]
    fn long_lines_are_cut_in_documents() {
        let path = std::env::temp_dir().join(format!("loopscope-line-{}", std::process::id()));
        fs::write(&path, format!("\t\u{1b}{}  \r\n", "x".repeat(10_000))).unwrap();
        let line = read(path.to_str().unwrap(), 1).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(line.chars().count(), MAX_LINE_CHARS);
        assert!(line.starts_with("    \u{fffd}x"), "{line}");
    }

    #[test]
    fn a_column_in_characters_is_that_of_the_byte() {
        let columns = [0, 1, 2, 3, 4, 7, 99].map(|column| column_in_chars("aß好b\n", column));
        assert_eq!(columns, [None, Some(1), Some(2), None, Some(3), Some(4), None]);
    }

    #[test]
    fn only_regular_files_are_read() {
        for path in ["", "/", "/dev/zero", "no/such/file.rs", "a\0b", "/proc/self/mem"] {
            assert_eq!(read(path, 1), None, "{path:?}");
        }
    }

    #[test]
    fn a_line_is_shown_without_its_end() {
        let first = "//! Findings and stalls as plain data: [`Finding`] and the documents around it.";
        assert_eq!(read("src/finding.rs", 1).as_deref(), Some(first));
        for end in ["", "\n", "\r\n", "  \t\r\n"] {
            assert_eq!(excerpt(&format!("\tone\ttwo{end}")), "\tone\ttwo", "{end:?}");
        }
    }
}
