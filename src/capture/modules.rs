//! The mapped programs and libraries with their unwind tables. The tables are
//! read from memory, because the file may have been replaced since it was
//! mapped, or may be inaccessible.
//!
//! The list comes from `/proc/self/maps`, not from `dl_iterate_phdr`: the
//! latter takes the loader's lock, which the sampled thread may hold.

use std::fs;
use std::ops::Range;
use std::sync::Arc;

use crate::os;

/// One mapped ELF image.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// The path of the mapped file, or a name such as `[vdso]`.
    pub(crate) path: String,
    /// The address in memory minus the address in the file.
    pub(crate) bias: u64,
    /// The addresses from the first to the last mapping.
    pub(crate) range: Range<u64>,
    /// The executable mappings.
    pub(crate) code: Vec<Range<u64>>,
    /// The section `.eh_frame_hdr`.
    pub(crate) eh_frame_hdr: Option<Section>,
    /// The section `.eh_frame`.
    pub(crate) eh_frame: Option<Section>,
}

/// A section of a module: its addresses in memory and a copy of its contents.
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
    is_executable: bool,
    offset: u64,
    path: &'l str,
}

/// An image whose code can be read in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MappedImage {
    /// The path of the mapped file, or a name such as `[vdso]`.
    pub(crate) path: String,
    /// The address in memory minus the address in the file.
    pub(crate) bias: u64,
    /// The executable mappings.
    pub(crate) code: Vec<Range<u64>>,
    /// The section `.eh_frame_hdr` in memory.
    pub(crate) function_index: Option<Range<u64>>,
}

/// Returns every image that is mapped now; no image if `/proc` is unavailable.
pub(crate) fn mapped_modules() -> Vec<Module> {
    map_images(module)
}

/// Returns every image that is mapped now, without its unwind tables.
pub(crate) fn mapped_images() -> Vec<MappedImage> {
    map_images(|mappings| Some(place(mappings)?.image))
}

fn map_images<T>(read: impl Fn(&[Mapping<'_>]) -> Option<T>) -> Vec<T> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mappings: Vec<_> = maps.lines().filter_map(parse).filter(|m| is_image(m.path)).collect();
    mappings.chunk_by(is_same_image).filter_map(read).collect()
}

/// Returns whether two adjacent mappings belong to one image. A file may be
/// mapped twice, once to run and once to be read, for example for its symbols.
/// Each image begins with the offset 0.
fn is_same_image(one: &Mapping<'_>, next: &Mapping<'_>) -> bool {
    one.path == next.path && next.offset > 0
}

fn is_image(path: &str) -> bool {
    path.starts_with('/') || path == "[vdso]"
}

fn parse(line: &str) -> Option<Mapping<'_>> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let is_executable = fields.next()?.contains('x');
    let offset = hex(fields.next()?)?;
    let path = fields.nth(2)?.trim_start();
    Some(Mapping { range: hex(start)?..hex(end)?, is_executable, offset, path })
}

/// Where an image is mapped.
struct Place {
    image: MappedImage,
    range: Range<u64>,
    segments: Vec<Segment>,
}

fn place(mappings: &[Mapping<'_>]) -> Option<Place> {
    let code: Vec<_> = mappings.iter().filter(|m| m.is_executable).map(|m| m.range.clone()).collect();
    let first = mappings.iter().find(|m| m.offset == 0).filter(|_| !code.is_empty())?;
    let base = first.range.start;
    let segments = segments(base)?;
    let lowest = segments.iter().filter(|s| s.kind == PT_LOAD).map(|s| s.address).min()?;
    let bias = base.wrapping_sub(lowest & !0xFFF);
    let end = mappings.iter().map(|m| m.range.end).max()?;
    let index = segments.iter().find(|s| s.kind == PT_GNU_EH_FRAME);
    let function_index = index.map(|s| {
        let start = s.address.wrapping_add(bias);
        start..start.saturating_add(s.size)
    });
    let image = MappedImage { path: first.path.to_owned(), bias, code, function_index };
    Some(Place { image, range: base..end, segments })
}

fn module(mappings: &[Mapping<'_>]) -> Option<Module> {
    let Place { image: MappedImage { path, bias, code, .. }, range, segments } = place(mappings)?;
    let (eh_frame_hdr, eh_frame) = unwind_tables(&segments, bias).unzip();
    Some(Module { path, bias, range, code, eh_frame_hdr, eh_frame })
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
    const FILE_HEADER_BYTES: usize = 64;
    const PROGRAM_HEADER_BYTES: usize = 56;
    let header = read(base, FILE_HEADER_BYTES)?;
    let is_elf64_le = header.starts_with(b"\x7FELF\x02\x01");
    let (table, entry, count) = (u64_at(&header, 32)?, u16_at(&header, 54)?, u16_at(&header, 56)?);
    if !is_elf64_le || usize::from(entry) != PROGRAM_HEADER_BYTES {
        return None;
    }
    let headers = read(base.checked_add(table)?, PROGRAM_HEADER_BYTES * usize::from(count))?;
    let segment = |entry: &[u8]| {
        Some(Segment { kind: u32_at(entry, 0)?, address: u64_at(entry, 16)?, size: u64_at(entry, 40)? })
    };
    headers.chunks_exact(PROGRAM_HEADER_BYTES).map(segment).collect()
}

/// Returns `.eh_frame_hdr` and `.eh_frame`.
///
/// `.eh_frame_hdr` is a separate segment and points to `.eh_frame`. The length
/// of `.eh_frame` is not recorded; the section ends within its loaded segment,
/// so the rest of that segment is read.
fn unwind_tables(segments: &[Segment], bias: u64) -> Option<(Section, Section)> {
    const POINTER_RELATIVE_TO_ITSELF: u8 = 0x1B;
    const MAX_SECTION_BYTES: u64 = 256 << 20;
    let header = segments.iter().find(|s| s.kind == PT_GNU_EH_FRAME)?;
    let header = section(header.address.wrapping_add(bias), header.size.min(MAX_SECTION_BYTES))?;
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
    let frames = section(start, (end - start).min(MAX_SECTION_BYTES))?;
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
    fn lines_of_proc_maps_are_parsed() {
        let line = "7f10-7f20 r-xp 00001000 fe:00 4242                       /usr/lib/with space.so";
        let expected = Mapping {
            range: 0x7F10..0x7F20,
            is_executable: true,
            offset: 0x1000,
            path: "/usr/lib/with space.so",
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("7f10-7f20 rw-p 00000000 00:00 0 ").map(|m| m.path), Some(""));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn the_running_program_is_found_with_its_unwind_tables() {
        let here = function_of_this_program as *const () as u64;
        let modules = mapped_modules();
        let program = modules.iter().find(|module| module.holds_code(here)).unwrap();
        assert!(program.range.contains(&here));
        assert!(program.eh_frame.as_ref().is_some_and(|section| section.bytes.len() > 1000));
    }

    #[test]
    fn a_file_that_is_mapped_twice_gives_two_images() {
        let maps = "1000-2000 r--p 00000000 fe:00 1 /lib/a.so\n3000-4000 r--p 00000000 fe:00 1 /lib/a.so\n\
                    4000-5000 r-xp 00001000 fe:00 1 /lib/a.so";
        let mappings: Vec<_> = maps.lines().filter_map(parse).collect();
        let groups: Vec<_> = mappings.chunk_by(is_same_image).map(|group| group[0].range.start).collect();
        assert_eq!(groups, [0x1000, 0x3000]);
    }

    fn function_of_this_program() {}
}
