//! The memory that is searched for tasks.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::capture::modules::{MapsFile, is_image, is_same_image};
use crate::little_endian::u64_at;
use crate::os;
use crate::process::Process;

/// The number of pages whose state is read at once.
const PAGES_AT_ONCE: u64 = 8192;
const IS_PRESENT: u64 = 1 << 63;
const IS_SWAPPED: u64 = 1 << 62;
/// The maximum number of threads whose stacks are left out.
const MAX_THREADS: usize = 65_536;

/// A program or library in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ImageArea {
    pub(super) path: String,
    pub(super) code: Vec<Range<u64>>,
    /// What is mapped from the file and is not code.
    pub(super) data: Vec<Range<u64>>,
}

impl ImageArea {
    pub(super) fn holds_data(&self, address: u64) -> bool {
        self.data.iter().any(|range| range.contains(&address))
    }
}

/// Where a process has programs and private data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Areas {
    pub(super) images: Vec<ImageArea>,
    /// Private writable memory that is not from a file, without the stacks of
    /// threads, in ascending order.
    pub(super) heap: Vec<Range<u64>>,
}

/// Which pages of a range are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// Those in memory: to read them does not make the process grow. Nothing is
    /// read if they are not known.
    Present,
    /// Those, and those that the kernel has swapped out. All if that is not
    /// known: for the files of programs, which have no pages without contents.
    Used,
}

/// The memory of a process. It may change between two calls.
pub(super) trait Memory {
    /// Returns where programs and private data are now.
    fn areas(&self) -> Areas;

    /// Copies memory from `address` on to `buffer`, up to the first page that
    /// cannot be read. Returns the number of bytes.
    fn read_into(&self, address: u64, buffer: &mut [u8]) -> usize;

    /// Copies pieces of memory, each with its address and length, one after the
    /// other to `buffer`, up to the first that cannot be read. Returns the
    /// number of bytes.
    fn read_pieces(&self, pieces: &[(usize, usize)], buffer: &mut [u8]) -> usize;

    /// Returns whether this is the memory of the process that reads it.
    fn is_own(&self) -> bool {
        false
    }

    /// Returns which parts of a range have pages of a kind. `None` if that is
    /// not known.
    fn pages(&self, range: &Range<u64>, pages: Pages) -> Option<PageList>;
}

/// The pages of a range.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PageList {
    pub(super) parts: Vec<Range<u64>>,
    /// The pages that the kernel has swapped out and that are not in `parts`.
    pub(super) swapped_bytes: u64,
}

impl Memory for Process {
    fn areas(&self) -> Areas {
        let Some(list) = MapsFile::open(*self).read() else { return Areas::default() };
        let mappings = list.mappings();
        let files: Vec<_> = mappings.iter().filter(|mapping| is_image(mapping.path)).collect();
        let images = files.chunk_by(|one, next| is_same_image(one, next)).map(|mappings| {
            let ranges = |is_code: bool| {
                let is_kind = move |permissions: &str| {
                    permissions.starts_with('r') && permissions.contains('x') == is_code
                };
                let ranges = mappings.iter().filter(move |m| is_kind(m.permissions)).map(|m| m.range.clone());
                ranges.collect::<Vec<_>>()
            };
            let path = mappings.first().map(|mapping| mapping.path.to_owned()).unwrap_or_default();
            ImageArea { path, code: ranges(true), data: ranges(false) }
        });
        let images = images.filter(|image| !image.code.is_empty()).collect();
        let is_private_data = |permissions: &str, inode: u64, path: &str| {
            let is_heap = path.is_empty() || path == "[heap]" || path.starts_with("[anon:");
            permissions.starts_with("rw") && permissions.ends_with('p') && inode == 0 && is_heap
        };
        let heap = mappings.iter().filter(|m| is_private_data(m.permissions, m.inode, m.path));
        let stack_ends = stack_ends(*self);
        let heap = heap.map(|mapping| without_stacks(mapping.range.clone(), &stack_ends));
        Areas { images, heap: heap.filter(|range| !range.is_empty()).collect() }
    }

    fn read_into(&self, address: u64, buffer: &mut [u8]) -> usize {
        Self::read_into(*self, address, buffer)
    }

    fn read_pieces(&self, pieces: &[(usize, usize)], buffer: &mut [u8]) -> usize {
        Self::read_pieces(*self, pieces, buffer)
    }

    fn is_own(&self) -> bool {
        self.other_pid().is_none_or(|pid| pid == os::getpid())
    }

    fn pages(&self, range: &Range<u64>, pages: Pages) -> Option<PageList> {
        let file = File::open(self.proc_path("pagemap")).ok()?;
        let mask = match pages {
            Pages::Present => IS_PRESENT,
            Pages::Used => IS_PRESENT | IS_SWAPPED,
        };
        let mut list = PageList::default();
        let page_bytes = os::page_bytes();
        let mut at = range.start & !(page_bytes - 1);
        // The kernel walks all pages that are asked for: no more than the
        // range.
        let pages_left = |at: u64| (range.end.saturating_sub(at).div_ceil(page_bytes)).min(PAGES_AT_ONCE);
        let mut bytes = vec![0_u8; (pages_left(at) * 8) as usize];
        while at < range.end {
            bytes.truncate((pages_left(at) * 8) as usize);
            let read = file.read_at(&mut bytes, at / page_bytes * 8).ok().filter(|read| *read >= 8)?;
            for entry in bytes.get(..read)?.chunks_exact(8) {
                let page = at.max(range.start)..at.saturating_add(page_bytes).min(range.end);
                if page.is_empty() {
                    break;
                }
                at = at.saturating_add(page_bytes);
                let state = u64_at(entry, 0)?;
                if state & mask == 0 {
                    list.swapped_bytes += if state & IS_SWAPPED == 0 { 0 } else { page_bytes };
                    continue;
                }
                match list.parts.last_mut().filter(|last| last.end == page.start) {
                    Some(last) => last.end = page.end,
                    None => list.parts.push(page),
                }
            }
        }
        Some(list)
    }
}

/// Returns the words from an address on, up to the first page that cannot be
/// read.
pub(super) fn words(memory: &impl Memory, address: u64, length: usize) -> Vec<u64> {
    let mut bytes = vec![0; length];
    let read = memory.read_into(address, &mut bytes).min(length);
    let bytes = bytes.get(..read).unwrap_or_default();
    bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes).collect()
}

/// Returns an address in the C library's record of each thread, which is above
/// the frames of its stack, in ascending order.
fn stack_ends(process: Process) -> Vec<u64> {
    let Ok(folder) = std::fs::read_dir(process.proc_path("task")) else { return Vec::new() };
    let tids =
        folder.flatten().take(MAX_THREADS).filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // The stack of the main thread has a mapping of its own. Its record is in
    // memory of the loader, below which other memory may be mapped.
    let main = process.other_pid().unwrap_or_else(os::getpid);
    let others = tids.filter(|tid| *tid != main);
    let mut ends: Vec<_> = others.filter_map(os::thread_area).map(|area| area as u64).collect();
    ends.sort_unstable();
    ends
}

/// Returns what is left of a mapping above the stack of a thread: the stack
/// begins where its mapping does.
fn without_stacks(mapping: Range<u64>, stack_ends: &[u64]) -> Range<u64> {
    let below_end = stack_ends.partition_point(|end| *end < mapping.end);
    let last = below_end.checked_sub(1).and_then(|at| stack_ends.get(at));
    match last.filter(|end| mapping.contains(end)) {
        // The record is shorter than a page.
        Some(end) => ((end | (os::page_bytes() - 1)) + 1).min(mapping.end)..mapping.end,
        None => mapping,
    }
}
