//! The source line of a finding, if its file is readable on this machine.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::diagnose::roots;
use crate::report::text::is_printable;

/// A larger source file is not read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// A longer line is cut.
const MAX_LINE_CHARS: usize = 160;

/// Returns line `line`, counted from 1, of the file at `path`. A relative path
/// is tried in the directories where this process was compiled, then in the
/// current directory. `None` if no such regular file or line exists, or if the
/// line is blank.
pub(crate) fn read(path: &str, line: u32) -> Option<String> {
    let in_roots = roots::source_roots().into_iter().map(|root| root.join(path));
    in_roots.chain([PathBuf::from(path)]).find_map(|path| read_at(&path, line))
}

fn read_at(path: &Path, line: u32) -> Option<String> {
    // Checked before the file is opened: opening a pipe waits for its writer.
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return None;
    }
    nth_line(File::open(path).ok()?.take(MAX_FILE_BYTES), line)
}

/// Returns line `line` of `source` with unprintable characters replaced.
fn nth_line(source: impl Read, line: u32) -> Option<String> {
    let mut source = BufReader::new(source);
    let mut bytes = Vec::new();
    for _ in 0..line {
        bytes.clear();
        if source.read_until(b'\n', &mut bytes).ok()? == 0 {
            return None;
        }
    }
    let shown = printable(&String::from_utf8_lossy(&bytes));
    (!shown.trim().is_empty()).then_some(shown)
}

/// Replaces each tab by four spaces, and each other unprintable character by
/// one printable character.
fn printable(line: &str) -> String {
    let line = line.trim_end();
    let mut shown = String::with_capacity(line.len());
    for c in line.chars().take(MAX_LINE_CHARS) {
        match c {
            '\t' => shown.push_str("    "),
            c if is_printable(c) => shown.push(c),
            _ => shown.push(char::REPLACEMENT_CHARACTER),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let source = b"first\n\tsecond  \r\nthird".as_slice();
        assert_eq!(nth_line(source, 1).as_deref(), Some("first"));
        assert_eq!(nth_line(source, 2).as_deref(), Some("    second"));
        assert_eq!(nth_line(source, 3).as_deref(), Some("third"));
        for absent in [0, 4, u32::MAX] {
            assert_eq!(nth_line(source, absent), None, "{absent}");
        }
    }

    #[test]
    fn unprintable_bytes_are_replaced_and_long_lines_cut() {
        let source = b"let a = \"\xff\x1b[31m\";\n".as_slice();
        assert_eq!(nth_line(source, 1).as_deref(), Some("let a = \"\u{fffd}\u{fffd}[31m\";"));
        let long = "x".repeat(10_000);
        assert_eq!(nth_line(long.as_bytes(), 1).map(|line| line.len()), Some(MAX_LINE_CHARS));
        assert_eq!(nth_line(b"   \t\n".as_slice(), 1), None);
    }

    #[test]
    fn only_regular_files_are_read() {
        for path in ["", "/", "/dev/zero", "no/such/file.rs", "a\0b", "/proc/self/mem"] {
            assert_eq!(read(path, 1), None, "{path:?}");
        }
        assert!(read("src/finding.rs", 1).is_some_and(|line| line.starts_with("//!")));
    }
}
