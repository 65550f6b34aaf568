//! The mapped programs and libraries with their unwind tables. The tables are
//! read from memory, because the file may have been replaced since it was
//! mapped, or may be inaccessible.
//!
//! The list comes from `/proc/PID/maps`, not from `dl_iterate_phdr`: the
//! latter takes the loader's lock, which the sampled thread may hold.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::ops::{Deref, Range};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::build_id;
use crate::evidence::{CodeFile, ImageIdentity};
use crate::little_endian::{u16_at, u32_at, u64_at};
use crate::process::Process;

/// One mapped ELF image.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// The file that is mapped.
    pub(crate) file: Arc<CodeFile>,
    /// The address in memory minus the address in the file.
    pub(crate) bias: u64,
    /// The addresses from the first to the last mapping.
    pub(crate) range: Range<u64>,
    /// The executable mappings.
    pub(crate) code: Vec<Range<u64>>,
    /// The addresses of its code and its data, with data that is not in the
    /// file because it is zero at first.
    pub(crate) loaded: Vec<Range<u64>>,
    /// The section `.eh_frame_hdr`.
    pub(crate) eh_frame_hdr: Option<Section>,
    /// The section `.eh_frame`.
    pub(crate) eh_frame: Option<Section>,
}

/// A section of a module: its addresses in memory and a copy of its contents.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) range: Range<u64>,
    pub(crate) bytes: SectionBytes,
}

/// The shared contents of a section. Not an `Arc<[u8]>`, because that would be
/// a second copy of what was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct SectionBytes(Arc<Vec<u8>>);

impl SectionBytes {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl Deref for SectionBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Module {
    pub(crate) fn holds_code(&self, address: u64) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }

    /// Returns whether code or a `static` of the image is at the address.
    pub(crate) fn holds(&self, address: u64) -> bool {
        self.loaded.iter().any(|range| range.contains(&address))
    }

    fn table_bytes(&self) -> u64 {
        let tables = [&self.eh_frame_hdr, &self.eh_frame];
        tables.into_iter().flatten().map(|section| section.bytes.len() as u64).sum()
    }
}

/// One line of `/proc/PID/maps`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mapping<'l> {
    pub(crate) range: Range<u64>,
    /// As the kernel writes them, such as `rw-p`.
    #[cfg_attr(not(feature = "attach"), allow(dead_code))]
    pub(crate) permissions: &'l str,
    is_executable: bool,
    offset: u64,
    pub(crate) inode: u64,
    pub(crate) path: &'l str,
}

/// An image whose code can be read in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MappedImage {
    /// The file that is mapped.
    pub(crate) file: Arc<CodeFile>,
    /// The address in memory minus the address in the file.
    pub(crate) bias: u64,
    /// The executable mappings.
    pub(crate) code: Vec<Range<u64>>,
    /// The section `.eh_frame_hdr` in memory.
    pub(crate) function_index: Option<Range<u64>>,
}

/// How much of the list of mappings is read.
const MAX_LIST_BYTES: u64 = 64 << 20;
/// Further images are not read, and images with more segments.
const MAX_IMAGES: usize = 4096;
const MAX_SEGMENTS: u16 = 128;

/// A section is copied up to this length. What lies beyond it has no tables.
const MAX_SECTION_BYTES: u64 = 32 << 20;
/// The maximum size of the tables of all modules. A module whose tables do not
/// fit has none: its frames end the walks.
const MAX_TABLE_BYTES: u64 = 64 << 20;

/// The open file `maps` of a process in `/proc`. It stays open, because there
/// may be no free descriptor when it is needed.
#[derive(Debug)]
pub(crate) struct MapsFile {
    process: Process,
    file: Option<File>,
}

impl MapsFile {
    pub(crate) fn open(process: Process) -> Self {
        Self { process, file: File::open(process.proc_path("maps")).ok() }
    }

    /// Reads the list as it is now.
    pub(crate) fn read(&mut self) -> Option<MapsList> {
        if self.file.is_none() {
            *self = Self::open(self.process);
        }
        let file = self.file.as_mut()?;
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.take(MAX_LIST_BYTES).read_to_end(&mut bytes)).ok()?;
        if bytes.is_empty() && self.process != Process::Own {
            // The process has executed another program. The open file is that
            // of the memory that it had before.
            *self = Self::open(self.process);
            self.file.as_mut()?.take(MAX_LIST_BYTES).read_to_end(&mut bytes).ok()?;
        }
        // A path may be no text.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Some(MapsList { process: self.process, text })
    }
}

/// The contents of the file `maps` of a process.
#[derive(Debug)]
pub(crate) struct MapsList {
    process: Process,
    text: String,
}

impl MapsList {
    /// Returns the number of bytes.
    pub(crate) fn length(&self) -> usize {
        self.text.len()
    }

    /// Returns every image that is mapped. What is known of an image that is
    /// still mapped is not read again.
    pub(crate) fn modules(&self, known: &[Module]) -> Vec<Module> {
        self.modules_within(MAX_TABLE_BYTES, known)
    }

    fn modules_within(&self, max_table_bytes: u64, known: &[Module]) -> Vec<Module> {
        let mappings = self.mappings_of_images();
        let images = mappings.chunk_by(is_same_image).take(MAX_IMAGES).filter_map(|mappings| {
            let image = Image::new(self.process, mappings)?;
            let module = known.iter().find(|module| image.is_of(module)).cloned();
            Some((image, module))
        });
        let images: Vec<_> = images.collect();
        let held: u64 = images.iter().filter_map(|(_, known)| known.as_ref()).map(Module::table_bytes).sum();
        let mut free = max_table_bytes.saturating_sub(held);
        let read = |(image, known): (Image<'_>, Option<Module>)| {
            known.or_else(|| {
                let module = image.module(free)?;
                free = free.saturating_sub(module.table_bytes());
                Some(module)
            })
        };
        images.into_iter().filter_map(read).collect()
    }

    /// Returns every image that is mapped, without its unwind tables.
    pub(crate) fn images(&self) -> Vec<MappedImage> {
        let mappings = self.mappings_of_images();
        let image = |mappings| Image::new(self.process, mappings)?.mapped();
        mappings.chunk_by(is_same_image).take(MAX_IMAGES).filter_map(image).collect()
    }

    /// Returns every mapping, in ascending order.
    #[cfg(feature = "attach")]
    pub(crate) fn mappings(&self) -> Vec<Mapping<'_>> {
        self.text.lines().filter_map(parse).collect()
    }

    fn mappings_of_images(&self) -> Vec<Mapping<'_>> {
        self.text.lines().filter_map(parse).filter(|mapping| is_image(mapping.path)).collect()
    }
}

impl Module {
    /// Returns whether the image is still mapped where it was.
    pub(crate) fn is_mapped(&self, process: Process) -> bool {
        let mapping = &self.file.first_mapping;
        match &self.file.identity {
            ImageIdentity::BuildId(id) => build_id(process, self.range.start).as_ref() == Some(id),
            ImageIdentity::File { first_bytes: known, .. } => {
                first_bytes(process, mapping).as_ref() == Some(known)
            }
        }
    }
}

/// Returns whether two adjacent mappings belong to one image. A file may be
/// mapped twice, once to run and once to be read, for example for its symbols.
/// Each image begins with the offset 0.
pub(crate) fn is_same_image(one: &Mapping<'_>, next: &Mapping<'_>) -> bool {
    one.path == next.path && next.offset > 0
}

pub(crate) fn is_image(path: &str) -> bool {
    path.starts_with('/') || path == "[vdso]"
}

fn parse(line: &str) -> Option<Mapping<'_>> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let permissions = fields.next()?;
    let is_executable = permissions.contains('x');
    let offset = hex(fields.next()?)?;
    let inode = fields.nth(1)?.parse().ok()?;
    let path = fields.next()?.trim_start();
    Some(Mapping { range: hex(start)?..hex(end)?, permissions, is_executable, offset, inode, path })
}

/// The mappings of one image.
struct Image<'l> {
    process: Process,
    first: &'l Mapping<'l>,
    /// The end of the last mapping.
    end: u64,
    code: Vec<Range<u64>>,
    path: &'l str,
    identity: ImageIdentity,
}

impl<'l> Image<'l> {
    fn new(process: Process, mappings: &'l [Mapping<'l>]) -> Option<Self> {
        let code: Vec<_> = mappings.iter().filter(|m| m.is_executable).map(|m| m.range.clone()).collect();
        let first = mappings.iter().find(|m| m.offset == 0).filter(|_| !code.is_empty())?;
        let end = mappings.iter().map(|m| m.range.end).max()?;
        // The kernel marks the path if the file was deleted or replaced.
        let path = first.path.trim_end_matches(" (deleted)");
        Some(Self { process, first, end, code, path, identity: identity(process, first, path)? })
    }

    fn base(&self) -> u64 {
        self.first.range.start
    }

    fn is_of(&self, module: &Module) -> bool {
        module.range == (self.base()..self.end)
            && module.code == self.code
            && module.file.path == self.path
            && module.file.identity == self.identity
    }

    /// Reads the unwind tables if they have at most `max_table_bytes`.
    fn module(self, max_table_bytes: u64) -> Option<Module> {
        let segments = segments(self.process, self.base())?;
        let bias = bias(self.base(), &segments)?;
        let (eh_frame_hdr, eh_frame) = unwind_tables(self.process, &segments, bias, max_table_bytes).unzip();
        let loaded = segments.iter().filter(|s| s.kind == PT_LOAD).map(|s| s.in_memory(bias)).collect();
        let range = self.base()..self.end;
        let code = self.code.clone();
        Some(Module { bias, range, code, loaded, eh_frame_hdr, eh_frame, file: self.into_file() })
    }

    fn mapped(self) -> Option<MappedImage> {
        let segments = segments(self.process, self.base())?;
        let bias = bias(self.base(), &segments)?;
        let index = segments.iter().find(|s| s.kind == PT_GNU_EH_FRAME);
        let function_index = index.map(|s| s.in_memory(bias));
        Some(MappedImage { bias, function_index, code: self.code.clone(), file: self.into_file() })
    }

    fn into_file(self) -> Arc<CodeFile> {
        let first_mapping = self.first.range.clone();
        let path = self.path.to_owned();
        Arc::new(CodeFile { process: self.process, path, identity: self.identity, first_mapping })
    }
}

fn bias(base: u64, segments: &[Segment]) -> Option<u64> {
    let lowest = segments.iter().filter(|s| s.kind == PT_LOAD).map(|s| s.address).min()?;
    Some(base.wrapping_sub(lowest & !0xFFF))
}

/// Returns what tells an image from others that are loaded from its path.
fn identity(process: Process, first: &Mapping<'_>, path: &str) -> Option<ImageIdentity> {
    if let Some(id) = build_id(process, first.range.start) {
        return Some(ImageIdentity::BuildId(id));
    }
    let mut files =
        process.file_paths(Path::new(path)).into_iter().filter_map(|path| fs::metadata(path).ok());
    let file = files.find(|file| file.ino() == first.inode);
    let modified = file.map(|file| (file.mtime(), file.mtime_nsec()));
    let first_bytes = first_bytes(process, &first.range)?;
    Some(ImageIdentity::File { first_bytes, inode: first.inode, modified })
}

/// Returns the build id of the image at an address.
fn build_id(process: Process, base: u64) -> Option<Vec<u8>> {
    const MAX_NOTES_BYTES: u64 = 64 * 1024;
    let segments = segments(process, base)?;
    let bias = bias(base, &segments)?;
    let mut notes = segments.iter().filter(|segment| segment.kind == PT_NOTE);
    notes.find_map(|segment| {
        let length = usize::try_from(segment.size.min(MAX_NOTES_BYTES)).ok()?;
        build_id::in_notes(&process.read(segment.address.wrapping_add(bias), length)?)
    })
}

fn first_bytes(process: Process, mapping: &Range<u64>) -> Option<Arc<[u8]>> {
    const FIRST_BYTES: u64 = 4096;
    let length = usize::try_from((mapping.end - mapping.start).min(FIRST_BYTES)).ok()?;
    Some(process.read(mapping.start, length)?.into())
}

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PT_GNU_EH_FRAME: u32 = 0x6474_E550;

/// A program header of a 64-bit little-endian ELF image.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    address: u64,
    size: u64,
}

impl Segment {
    /// Returns the addresses of the segment in memory.
    fn in_memory(self, bias: u64) -> Range<u64> {
        let start = self.address.wrapping_add(bias);
        start..start.saturating_add(self.size)
    }
}

fn segments(process: Process, base: u64) -> Option<Vec<Segment>> {
    const FILE_HEADER_BYTES: usize = 64;
    const PROGRAM_HEADER_BYTES: usize = 56;
    let header = process.read(base, FILE_HEADER_BYTES)?;
    let is_elf64_le = header.starts_with(b"\x7FELF\x02\x01");
    let (table, entry, count) = (u64_at(&header, 32)?, u16_at(&header, 54)?, u16_at(&header, 56)?);
    if !is_elf64_le || usize::from(entry) != PROGRAM_HEADER_BYTES || count > MAX_SEGMENTS {
        return None;
    }
    let headers = process.read(base.checked_add(table)?, PROGRAM_HEADER_BYTES * usize::from(count))?;
    let segment = |entry: &[u8]| {
        Some(Segment { kind: u32_at(entry, 0)?, address: u64_at(entry, 16)?, size: u64_at(entry, 40)? })
    };
    headers.chunks_exact(PROGRAM_HEADER_BYTES).map(segment).collect()
}

/// Returns `.eh_frame_hdr` and `.eh_frame`, if they have at most `max_bytes`
/// together.
///
/// `.eh_frame_hdr` is a separate segment and points to `.eh_frame`. The length
/// of `.eh_frame` is not recorded; the section ends within its loaded segment,
/// so the rest of that segment is read.
fn unwind_tables(
    process: Process,
    segments: &[Segment],
    bias: u64,
    max_bytes: u64,
) -> Option<(Section, Section)> {
    let section = |start: u64, length: u64| {
        let bytes = process.read(start, usize::try_from(length).ok()?)?;
        Some(Section { range: start..start + length, bytes: SectionBytes::new(bytes) })
    };
    const POINTER_RELATIVE_TO_ITSELF: u8 = 0x1B;
    let header = segments.iter().find(|s| s.kind == PT_GNU_EH_FRAME)?;
    let header_bytes = header.size.min(MAX_SECTION_BYTES);
    let left = max_bytes.checked_sub(header_bytes)?;
    let header = section(header.address.wrapping_add(bias), header_bytes)?;
    if header.bytes.get(1) != Some(&POINTER_RELATIVE_TO_ITSELF) {
        return None;
    }
    let pointer = i64::from(u32_at(&header.bytes, 4)?.cast_signed());
    let start = header.range.start.wrapping_add(4).wrapping_add_signed(pointer);
    let within = |s: &&Segment| s.kind == PT_LOAD && s.in_memory(bias).contains(&start);
    let end = segments.iter().find(within)?.in_memory(bias).end;
    let frames_bytes = (end - start).min(MAX_SECTION_BYTES);
    let frames = if frames_bytes <= left { section(start, frames_bytes)? } else { return None };
    Some((header, frames))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn lines_of_proc_maps_are_parsed() {
        let line = "7f10-7f20 r-xp 00001000 fe:00 4242                       /usr/lib/with space.so";
        let expected = Mapping {
            range: 0x7F10..0x7F20,
            permissions: "r-xp",
            is_executable: true,
            offset: 0x1000,
            inode: 4242,
            path: "/usr/lib/with space.so",
        };
        assert_eq!(parse(line), Some(expected));
        assert_eq!(parse("7f10-7f20 rw-p 00000000 00:00 0 ").map(|m| m.path), Some(""));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn the_running_program_is_found_with_its_unwind_tables() {
        let here = function_of_this_program as *const () as u64;
        let modules = MapsFile::open(Process::Own).read().unwrap().modules(&[]);
        let program = modules.iter().find(|module| module.holds_code(here)).unwrap();
        assert!(program.range.contains(&here));
        assert!(program.eh_frame.as_ref().is_some_and(|section| section.bytes.len() > 1000));
    }

    #[test]
    fn statics_are_in_an_image_and_other_data_is_not() {
        static ZERO: AtomicU64 = AtomicU64::new(0);
        static INITIALISED: AtomicU64 = AtomicU64::new(42);
        let (on_stack, on_heap) = (AtomicU64::new(42), Box::new(AtomicU64::new(42)));
        let modules = MapsFile::open(Process::Own).read().unwrap().modules(&[]);
        let is_in_image =
            |value: &AtomicU64| modules.iter().any(|module| module.holds(value.as_ptr() as u64));
        assert!(is_in_image(&ZERO) && is_in_image(&INITIALISED));
        assert!(!is_in_image(&on_stack) && !is_in_image(&on_heap));
    }

    #[test]
    fn tables_beyond_the_limit_are_not_read_and_known_ones_stay() {
        let list = MapsFile::open(Process::Own).read().unwrap();
        let bytes = |modules: &[Module]| modules.iter().map(Module::table_bytes).sum::<u64>();
        let all = list.modules(&[]);
        for max in [0, bytes(&all) / 2, bytes(&all) - 1] {
            let modules = list.modules_within(max, &[]);
            assert_eq!(modules.len(), all.len());
            assert!(bytes(&modules) <= max, "{} of {max} bytes", bytes(&modules));
            assert!(modules.iter().all(|module| module.eh_frame_hdr.is_some() == module.eh_frame.is_some()));
        }
        assert_eq!(bytes(&list.modules_within(0, &all)), bytes(&all));
        assert_eq!(bytes(&list.modules_within(bytes(&all), &[])), bytes(&all));
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
