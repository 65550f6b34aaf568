//! Which function a call names in the source, if the source is at hand.
//!
//! The compiler may merge functions that have the same code. No symbol and no
//! debug information tells that of private functions: a call of one is then a
//! call of the other. Only the source still has both names.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// A larger source file is not read.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Returns whether a place in the source calls a function of another name than
/// `function`, which is a whole path. `false` if the source is not at hand, or
/// if the call there is not a plain one.
pub(super) fn calls_another(path: &str, line: u32, column: u32, function: &str) -> bool {
    // The compiler itself adds calls of traits: a loop calls `next`, `.await`
    // calls `poll`.
    if function.starts_with('<') {
        return false;
    }
    let called = source_line(Path::new(path), line).and_then(|text| called_name(&text, column));
    let is_name = |name: &str| !name.is_empty() && name.chars().all(is_identifier);
    let plain =
        if function.ends_with('>') { function.rsplit_once("::<").map(|(name, _)| name) } else { None };
    // A closure has no name.
    let name = plain.unwrap_or(function).rsplit("::").next().filter(|name| is_name(name));
    called.zip(name).is_some_and(|(called, name)| called != name)
}

/// Returns the last part of the path of the plain call that begins at a column,
/// counted from 1: `wait` of `timers::wait(..)`.
fn called_name(line: &str, column: u32) -> Option<String> {
    let mut rest = line.get(usize::try_from(column).ok()?.checked_sub(1)?..)?;
    loop {
        let (name, after) = rest.split_at(rest.find(|c| !is_identifier(c))?);
        match after.strip_prefix("::") {
            Some(path) if !name.is_empty() => rest = path,
            _ => return (!name.is_empty() && after.starts_with('(')).then(|| name.to_owned()),
        }
    }
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn source_line(path: &Path, line: u32) -> Option<String> {
    // Checked before the file is opened: opening a pipe waits for its writer.
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return None;
    }
    let lines = BufReader::new(File::open(path).ok()?.take(MAX_FILE_BYTES)).lines();
    lines.map_while(Result::ok).nth(usize::try_from(line).ok()?.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_plain_call_is_read() {
        for (line, column, expected) in [
            ("    wait(d);", 5, Some("wait")),
            ("    timers::wait(d); other()", 5, Some("wait")),
            ("    crate::timers::wait(d); other()", 5, Some("wait")),
            ("    let x = wait(d);", 13, Some("wait")),
            // Not a plain call: its column is that of the receiver.
            ("    self.wait(d);", 5, None),
            ("    wait.other(d);", 5, None),
            ("    wait!(d);", 5, None),
            ("    wait::<u8>(d);", 5, None),
            ("    wait", 5, None),
            ("    a + b", 5, None),
            ("größe(d)", 1, Some("größe")),
            ("größe(d)", 4, None),
            ("wait(d)", 0, None),
            ("wait(d)", 90, None),
            ("", 1, None),
            ("::wait(d)", 1, None),
        ] {
            assert_eq!(called_name(line, column).as_deref(), expected, "{line} at {column}");
        }
    }

    #[test]
    fn a_call_is_compared_with_the_last_part_of_a_name() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/src/diagnose/tail_calls/source.rs");
        let lines = fs::read_to_string(here).unwrap();
        let line = lines.lines().position(|line| line.contains("= source_line(")).unwrap() as u32 + 1;
        let column = lines.lines().nth(line as usize - 1).unwrap().find("source_line").unwrap() as u32 + 1;
        assert!(calls_another(here, line, column, "app::other_line"));
        assert!(!calls_another(here, line, column, "app::source_line"));
        assert!(!calls_another(here, line, column, "<app::X as app::Y>::other_line"));
        assert!(!calls_another(here, line, column, "app::source_line::<u8>"));
        assert!(calls_another(here, line, column, "app::other_line::<u8>"));
        assert!(!calls_another(here, line, column, "app::main::{{closure}}"));
        assert!(!calls_another(here, line, column, "app::main::{closure#0}"));
        assert!(!calls_another("/no/such/file", line, column, "app::other_line"));
        assert!(!calls_another("/dev/zero", line, column, "app::other_line"));
    }
}
