//! Reads the code of a process, and finds where its functions begin and end.
//!
//! The bounds come from the unwind tables, which even a stripped program has.
//! Nothing is copied beforehand: each query reads the few bytes that it needs.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::modules::{MappedImage, MapsFile};
use crate::evidence::CodeAddress;
use crate::process::Process;

/// The minimum time between two reads of the mapped images.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// The size of an entry in the table of `.eh_frame_hdr`: the beginning of a
/// function and the address of its unwind information.
const ENTRY_BYTES: u64 = 8;

/// The code of a process.
#[derive(Debug)]
pub(crate) struct LoadedCode {
    process: Process,
    maps: MapsFile,
    images: Vec<MappedImage>,
    refreshed_at: Instant,
}

impl LoadedCode {
    pub(crate) fn new(process: Process) -> Self {
        let maps = MapsFile::open(process);
        let mut code = Self { process, maps, images: Vec::new(), refreshed_at: Instant::now() };
        code.read_images();
        code
    }

    /// Reads the mapped images again if they may have changed: libraries may
    /// have been loaded and unloaded.
    pub(crate) fn refresh(&mut self) {
        if self.refreshed_at.elapsed() > MIN_REFRESH_INTERVAL {
            self.read_images();
        }
    }

    fn read_images(&mut self) {
        self.refreshed_at = Instant::now();
        if let Some(list) = self.maps.read() {
            self.images = list.images();
        }
    }

    /// Returns the address in memory of an address in a file. `None` if the
    /// file is not mapped, or has its code there more than once.
    pub(crate) fn locate(&self, address: &CodeAddress) -> Option<u64> {
        let images = self.images.iter().filter(|image| image.file == address.file);
        let mut found = images.filter_map(|image| {
            let address = address.address.wrapping_add(image.bias);
            holds_code(image, address).then_some(address)
        });
        found.next().filter(|_| found.next().is_none())
    }

    /// Returns the address in a file of an address in memory.
    pub(crate) fn place(&self, address: u64) -> Option<CodeAddress> {
        let image = self.image_at(address)?;
        Some(CodeAddress { file: Arc::clone(&image.file), address: address.wrapping_sub(image.bias) })
    }

    /// Copies code or data. `None` if an address is not mapped.
    pub(crate) fn read(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        self.process.read(address, length)
    }

    /// Returns the addresses of the function that contains an address, or of
    /// the part of it that lies there. `None` for code without unwind tables.
    pub(crate) fn function(&self, address: u64) -> Option<Range<u64>> {
        let image = self.image_at(address)?;
        let (begin, description) = self.index_entry(image.function_index.as_ref()?, address)?;
        // The length of the description, the offset of what it shares with
        // others, the function's beginning relative to itself, and its length.
        let [_, _, relative_begin, length] = self.words(description)?;
        let described = relative_to(description.wrapping_add(8), relative_begin);
        // Another beginning means another encoding.
        let range = begin..begin.checked_add(u64::from(length))?;
        (described == begin && range.contains(&address)).then_some(range)
    }

    /// Finds the last function in the index that begins at or before an
    /// address. Returns its beginning and the address of its description.
    fn index_entry(&self, index: &Range<u64>, address: u64) -> Option<(u64, u64)> {
        /// Version 1; the pointer is relative to itself, the count is a plain
        /// number, the entries are relative to the index.
        const FORMAT: [u8; 4] = [1, 0x1B, 0x03, 0x3B];
        const HEADER_BYTES: u64 = 12;
        let [format, _, count] = self.words(index.start)?;
        if format.to_le_bytes() != FORMAT {
            return None;
        }
        let size = index.end.checked_sub(index.start)?.checked_sub(HEADER_BYTES)?;
        let entry = |n: u64| {
            // The entry is within the index: `n` is below `size / ENTRY_BYTES`.
            let [begin, description] = self.words(index.start + HEADER_BYTES + n * ENTRY_BYTES)?;
            Some((relative_to(index.start, begin), relative_to(index.start, description)))
        };
        let (mut low, mut high) = (0, u64::from(count).min(size / ENTRY_BYTES));
        let mut found = None;
        while low < high {
            let middle = low.midpoint(high);
            let (begin, description) = entry(middle)?;
            if begin <= address {
                found = Some((begin, description));
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        found
    }

    /// Reads words of 32 bits.
    fn words<const N: usize>(&self, address: u64) -> Option<[u32; N]> {
        let bytes = self.read(address, 4 * N)?;
        let (words, _) = bytes.as_chunks::<4>();
        let words: Vec<_> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        words.try_into().ok()
    }

    fn image_at(&self, address: u64) -> Option<&MappedImage> {
        self.images.iter().find(|image| holds_code(image, address))
    }
}

/// Adds a signed offset of 32 bits.
fn relative_to(address: u64, offset: u32) -> u64 {
    address.wrapping_add_signed(i64::from(offset.cast_signed()))
}

fn holds_code(image: &MappedImage, address: u64) -> bool {
    image.code.iter().any(|range| range.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::CodeFile;

    #[inline(never)]
    fn function_of_this_program(n: u64) -> u64 {
        std::hint::black_box(n) + 1
    }

    #[test]
    fn a_function_of_this_program_is_found_by_any_of_its_addresses() {
        let begin = function_of_this_program as *const () as u64;
        let code = LoadedCode::new(Process::Own);
        let range = code.function(begin + 1).unwrap();
        assert_eq!(range.start, begin);
        assert!((2..4096).contains(&(range.end - range.start)), "{range:x?}");
        assert_eq!(code.function(range.end - 1), Some(range));
        assert_eq!(code.read(begin, 16).unwrap().len(), 16);
    }

    #[test]
    fn an_address_in_a_file_leads_to_memory_and_back() {
        let begin = function_of_this_program as *const () as u64;
        let code = LoadedCode::new(Process::Own);
        let address = code.place(begin).unwrap();
        assert_eq!(code.locate(&address), Some(begin));
        assert_eq!(code.locate(&CodeAddress { file: Arc::new(CodeFile::none()), ..address }), None);
    }

    #[test]
    fn what_is_no_code_has_no_function() {
        let code = LoadedCode::new(Process::Own);
        let data = 7_u64;
        for address in [0, 1, 4096, std::ptr::from_ref(&data).addr() as u64, u64::MAX, u64::MAX - 7] {
            assert_eq!(code.function(address), None);
            assert_eq!(code.place(address), None);
        }
    }
}
