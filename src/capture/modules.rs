//! The programs and libraries that are mapped, and their unwind tables, read
//! from memory: the file may have been replaced since, or be out of reach.
//!
//! `/proc/self/maps` rather than `dl_iterate_phdr`: the latter takes the
//! loader's lock, which the very thread we look at may hold.

use std::fs;
use std::ops::Range;
use std::sync::Arc;

use crate::os;

/// One mapped ELF image.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// The path it was mapped from, or a name such as `[vdso]`.
    pub(crate) path: String,
    /// What to add to an address in the file to get the one in memory.
    pub(crate) bias: u64,
    /// From its first to its last mapping.
    pub(crate) range: Range<u64>,
    /// Its code.
    pub(crate) code: Vec<Range<u64>>,
    /// `.eh_frame_hdr` and `.eh_frame`: addresses in memory and contents.
    pub(crate) eh_frame_hdr: Option<Section>,
    pub(crate) eh_frame: Option<Section>,
}

/// A piece of a module, copied.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) range: Range<u64>,
    pub(crate) bytes: Arc<[u8]>,
}

impl Module {
    pub(crate) fn holds_code(&self, address: u64) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }
}

/// One line of `/proc/self/maps`.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'l> {
    range: Range<u64>,
    executable: bool,
    offset: u64,
    path: &'l str,
}

/// Every image that is mapped now; empty where `/proc` is not to be had.
pub(crate) fn mapped() -> Vec<Module> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mappings: Vec<_> = maps.lines().filter_map(parse).filter(|m| is_image(m.path)).collect();
    mappings.chunk_by(continues).filter_map(module).collect()
}

/// Whether two neighbours belong to one image. A file may be mapped twice, once
/// to run and once to be read, as symbols are: each time from its beginning.
fn continues(one: &Mapping<'_>, next: &Mapping<'_>) -> bool {
    one.path == next.path && next.offset > 0
}

fn is_image(path: &str) -> bool {
    path.starts_with('/') || path == "[vdso]"
}

fn parse(line: &str) -> Option<Mapping<'_>> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let executable = fields.next()?.contains('x');
    let offset = hex(fields.next()?)?;
    let path = fields.nth(2)?.trim_start();
    Some(Mapping { range: hex(start)?..hex(end)?, executable, offset, path })
}

fn module(mappings: &[Mapping<'_>]) -> Option<Module> {
    let code: Vec<_> = mappings.iter().filter(|m| m.executable).map(|m| m.range.clone()).collect();
    let first = mappings.iter().find(|m| m.offset == 0).filter(|_| !code.is_empty())?;
    let base = first.range.start;
    let segments = segments(base)?;
    let lowest = segments.iter().filter(|s| s.kind == PT_LOAD).map(|s| s.address).min()?;
    let bias = base.wrapping_sub(lowest & !0xFFF);
    let end = mappings.iter().map(|m| m.range.end).max()?;
    let (eh_frame_hdr, eh_frame) = unwind_tables(&segments, bias).unzip();
    Some(Module { path: first.path.to_owned(), bias, range: base..end, code, eh_frame_hdr, eh_frame })
}

const PT_LOAD: u32 = 1;
const PT_GNU_EH_FRAME: u32 = 0x6474_E550;

/// A program header of a 64-bit little-endian ELF image.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    address: u64,
    size: u64,
}

fn segments(base: u64) -> Option<Vec<Segment>> {
    const HEADER: usize = 64;
    const ENTRY: usize = 56;
    let header = read(base, HEADER)?;
    let is_elf64_le = header.starts_with(b"\x7FELF\x02\x01");
    let (table, entry, count) = (u64_at(&header, 32)?, u16_at(&header, 54)?, u16_at(&header, 56)?);
    if !is_elf64_le || usize::from(entry) != ENTRY {
        return None;
    }
    let headers = read(base.checked_add(table)?, ENTRY * usize::from(count))?;
    let of = |entry: &[u8]| {
        Some(Segment { kind: u32_at(entry, 0)?, address: u64_at(entry, 16)?, size: u64_at(entry, 40)? })
    };
    headers.chunks_exact(ENTRY).map(of).collect()
}

/// `.eh_frame_hdr` has a segment of its own and points to `.eh_frame`, whose
/// length is nowhere said: it ends within the same loaded segment.
fn unwind_tables(segments: &[Segment], bias: u64) -> Option<(Section, Section)> {
    const POINTER_RELATIVE_TO_ITSELF: u8 = 0x1B;
    const LONGEST: u64 = 256 << 20;
    let header = segments.iter().find(|s| s.kind == PT_GNU_EH_FRAME)?;
    let header = section(header.address.wrapping_add(bias), header.size.min(LONGEST))?;
    if header.bytes.get(1) != Some(&POINTER_RELATIVE_TO_ITSELF) {
        return None;
    }
    let pointer = i64::from(u32_at(&header.bytes, 4)?.cast_signed());
    let start = header.range.start.wrapping_add(4).wrapping_add_signed(pointer);
    let within = |s: &&Segment| {
        let loaded = s.address.wrapping_add(bias);
        s.kind == PT_LOAD && (loaded..loaded.saturating_add(s.size)).contains(&start)
    };
    let segment = segments.iter().find(within)?;
    let end = segment.address.wrapping_add(bias).saturating_add(segment.size);
    let frames = section(start, (end - start).min(LONGEST))?;
    Some((header, frames))
}

fn section(start: u64, length: u64) -> Option<Section> {
    let bytes = read(start, usize::try_from(length).ok()?)?;
    Some(Section { range: start..start + length, bytes: bytes.into() })
}

fn read(address: u64, length: usize) -> Option<Vec<u8>> {
    os::read_memory(usize::try_from(address).ok()?, length)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_read() {
        let line = "7f10-7f20 r-xp 00001000 fe:00 4242                       /usr/lib/with space.so";
        let expected = Mapping {
            range: 0x7F10..0x7F20,
            executable: true,
            offset: 0x1000,
            path: "/usr/lib/with space.so",
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("7f10-7f20 rw-p 00000000 00:00 0 ").map(|m| m.path), Some(""));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn this_program_is_mapped_with_its_unwind_tables() {
        let here = lines_of_code as *const () as u64;
        let modules = mapped();
        let program = modules.iter().find(|module| module.holds_code(here)).unwrap();
        assert!(program.range.contains(&here));
        assert!(program.eh_frame.as_ref().is_some_and(|section| section.bytes.len() > 1000));
    }

    #[test]
    fn a_file_that_is_mapped_to_be_read_is_no_image() {
        let maps = "1000-2000 r--p 00000000 fe:00 1 /lib/a.so\n3000-4000 r--p 00000000 fe:00 1 /lib/a.so\n\
                    4000-5000 r-xp 00001000 fe:00 1 /lib/a.so";
        let mappings: Vec<_> = maps.lines().filter_map(parse).collect();
        let groups: Vec<_> = mappings.chunk_by(continues).map(|group| group[0].range.start).collect();
        assert_eq!(groups, [0x1000, 0x3000]);
    }

    fn lines_of_code() {}
}
