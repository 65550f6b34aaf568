//! Walks a directory tree again and again.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

#[inline(never)]
fn walk(directory: &Path, end: Instant) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 }; // BLOCKS: file std::fs::read_dir
    let mut bytes = 0;
    // BLOCKS: file <std::sys::fs::unix::DirStream as core::ops::drop::Drop>::drop
    for entry in entries.flatten() { // BLOCKS: file <std::fs::ReadDir as core::iter::traits::iterator::Iterator>::next
        let Ok(metadata) = entry.metadata() else { continue }; // BLOCKS: file std::fs::DirEntry::metadata
        if metadata.is_dir() && Instant::now() < end {
            bytes += walk(&entry.path(), end);
        }
        bytes += metadata.len();
    }
    bytes
}

pub(crate) async fn prepare(stall: Duration) {
    let end = Instant::now() + stall;
    while Instant::now() < end {
        std::hint::black_box(walk(Path::new("/usr"), end));
    }
}
