//! The writable memory of a process, as far as stacks may be in it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::ops::Range;

use crate::os::ThreadInfo;
use crate::process::Process;

/// How much of the list of mappings is read.
const MAX_LIST_BYTES: u64 = 64 << 20;
const MAX_MAPPINGS: usize = 1 << 20;

/// The mappings that can be written to, in the order of their addresses.
#[derive(Debug, Default)]
pub(crate) struct MemoryMap {
    mappings: Vec<Range<u64>>,
}

impl MemoryMap {
    /// Reads the mappings of a process as they are now. The list is empty if
    /// they must not be read.
    pub(super) fn of(process: Process) -> Self {
        let Ok(file) = File::open(process.proc_path("maps")) else { return Self::default() };
        let lines = BufReader::new(file.take(MAX_LIST_BYTES)).split(b'\n').map_while(Result::ok);
        let mut mappings: Vec<_> = lines.filter_map(|line| writable(&line)).take(MAX_MAPPINGS).collect();
        mappings.sort_unstable_by_key(|mapping| mapping.start);
        Self { mappings }
    }

    /// Returns the thread with the bounds of the mapping that `sp` is in. Other
    /// memory may be mapped above its stack.
    pub(super) fn thread(&self, tid: i32, sp: u64) -> ThreadInfo {
        let next = self.mappings.partition_point(|mapping| mapping.start <= sp);
        let mapping = next.checked_sub(1).and_then(|index| self.mappings.get(index));
        let mapping = mapping.filter(|mapping| mapping.contains(&sp));
        let address = |address: u64| usize::try_from(address).unwrap_or(0);
        ThreadInfo {
            tid,
            stack_bottom: mapping.map_or(0, |mapping| address(mapping.start)),
            stack_top: mapping.map_or(0, |mapping| address(mapping.end)),
        }
    }
}

/// Returns the addresses of a line of `/proc/PID/maps` if they can be read and
/// written. The path at its end may be any bytes.
fn writable(line: &[u8]) -> Option<Range<u64>> {
    let mut fields = line.split(|byte| *byte == b' ');
    let (addresses, rights) = (std::str::from_utf8(fields.next()?).ok()?, fields.next()?);
    let (start, end) = addresses.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    rights.starts_with(b"rw").then_some(hex(start)?..hex(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_the_bounds_of_the_memory_around_its_stack_pointer() {
        let local = 0_u8;
        let sp = std::ptr::from_ref(&local).addr();
        let thread = MemoryMap::of(Process::Own).thread(7, sp as u64);
        assert_eq!(thread.tid, 7);
        assert!((thread.stack_bottom..thread.stack_top).contains(&sp), "{thread:x?}");
        let code = MemoryMap::of as fn(Process) -> MemoryMap as usize as u64;
        assert_eq!(MemoryMap::of(Process::Own).thread(7, code).stack_top, 0);
        assert_eq!(MemoryMap::of(Process::Own).thread(7, 8).stack_top, 0);
        assert_eq!(MemoryMap::of(Process::Other(i32::MAX)).thread(7, sp as u64).stack_top, 0);
    }

    #[test]
    fn only_memory_that_can_be_written_to_is_listed() {
        assert_eq!(writable(b"10-20 rw-p 0 0 0 [heap]"), Some(0x10..0x20));
        assert_eq!(writable(b"10-20 rw-s 0 0 0 /\xC3 (deleted)"), Some(0x10..0x20));
        for line in [b"10-20 r--p 0 0 0".as_slice(), b"10-20", b"zz-20 rw-p", b"", b"\xC3-2 rw-p"] {
            assert_eq!(writable(line), None);
        }
    }
}
