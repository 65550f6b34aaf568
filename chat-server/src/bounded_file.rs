//! Reads small files that the user names.

use std::fs::{self, File};
use std::io::{self, Read as _};

/// Reads a file of at most `max_bytes`.
///
/// The file must be a regular one: a device may have no end, and opening a FIFO
/// waits until somebody writes to it.
pub(crate) fn read(path: &str, max_bytes: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if read as u64 > max_bytes {
        return Err(io::Error::other(format!("it has more than {max_bytes} bytes")));
    }
    Ok(bytes)
}
