//! The sections of an ELF file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use gimli::Reader;
use object::elf;

use crate::build_id;
use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::compressed;
use crate::diagnose::image::missing::MissingLines;
use crate::diagnose::image::paged_file::PagedFile;
use crate::evidence::ImageIdentity;
use crate::little_endian::{u16_at, u32_at, u64_at};

const FILE_HEADER_BYTES: usize = 64;
const SEGMENT_HEADER_BYTES: usize = 56;
const SECTION_HEADER_BYTES: usize = 64;
const MAX_NAMES_BYTES: u64 = 1 << 20;
/// No section with a longer name is read.
const MAX_NAME_BYTES: usize = 256;
const MAX_NOTES_BYTES: u64 = 64 * 1024;
const MAX_NOTE_SEGMENTS: usize = 64;

/// An ELF file for 64-bit little-endian machines.
#[derive(Debug)]
pub(super) struct Elf {
    bytes: Bytes,
    sections: Vec<Section>,
    build_id: Option<Vec<u8>>,
    inode: u64,
    modified: (i64, i64),
}

#[derive(Debug)]
struct Section {
    name: String,
    offset: u64,
    /// The number of bytes in the file.
    length: u64,
    is_compressed: bool,
}

/// Opens a regular file. To open a device may have effects, and to open a pipe
/// may wait for its other end.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // Another file may be there by now.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

impl Elf {
    pub(super) fn read(file: Arc<File>) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let bytes = Bytes::from_file(PagedFile::new(file, metadata.len()));
        Some(Self { inode: metadata.ino(), modified, ..Self::parse(bytes)? })
    }

    pub(super) fn parse(bytes: Bytes) -> Option<Self> {
        let header = bytes.part(0, FILE_HEADER_BYTES as u64)?.whole().ok()?;
        if !header.starts_with(b"\x7FELF\x02\x01") {
            return None;
        }
        let build_id = build_id_of(&bytes, &header);
        let sections = sections(&bytes, &header).unwrap_or_default();
        Some(Self { bytes, sections, build_id, inode: 0, modified: (0, 0) })
    }

    pub(super) fn build_id(&self) -> Option<&[u8]> {
        self.build_id.as_deref()
    }

    /// Returns whether this is the file of an image in memory.
    pub(super) fn is(&self, identity: &ImageIdentity) -> bool {
        match identity {
            ImageIdentity::BuildId(id) => self.build_id() == Some(id),
            ImageIdentity::File { first_bytes, inode, modified } => {
                let part = self.bytes.part(0, first_bytes.len() as u64);
                let is_same =
                    part.and_then(|part| part.whole().ok()).is_some_and(|bytes| bytes == **first_bytes);
                let is_modified = modified.is_some_and(|modified| modified != self.modified);
                is_same && self.inode == *inode && !is_modified
            }
        }
    }

    pub(super) fn has_section(&self, name: &str) -> bool {
        self.section(name).is_some()
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name && section.length > 0)
    }

    /// Returns the bytes of a section, which are empty if the file does not
    /// have it. A compressed section is copied to memory, and its size is taken
    /// from `memory_left`.
    pub(super) fn bytes_of(&self, name: &str, memory_left: &mut u64) -> Result<Bytes, MissingLines> {
        let Some(section) = self.section(name) else { return Ok(Bytes::empty()) };
        let Some(bytes) = self.bytes.part(section.offset, section.length) else { return Ok(Bytes::empty()) };
        if !section.is_compressed {
            return Ok(bytes);
        }
        compressed::decompress(bytes, memory_left)
    }

    /// Returns the name of the file that has the debug information.
    pub(super) fn debug_link(&self) -> Option<String> {
        let section = self.section(".gnu_debuglink")?;
        let mut name = self.bytes.part(section.offset, section.length)?;
        let name = name.read_null_terminated_slice().ok()?.whole().ok()?;
        String::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.contains('/'))
    }
}

/// Returns the build id in the note segments.
fn build_id_of(bytes: &Bytes, header: &[u8]) -> Option<Vec<u8>> {
    let (table, count) = (u64_at(header, 32)?, u16_at(header, 56)?);
    let table = bytes.part(table, u64::from(count) * SEGMENT_HEADER_BYTES as u64)?.whole().ok()?;
    let segments = table.chunks_exact(SEGMENT_HEADER_BYTES);
    let mut notes =
        segments.filter(|segment| u32_at(segment, 0) == Some(elf::PT_NOTE)).take(MAX_NOTE_SEGMENTS);
    let build_id = |segment: &[u8]| {
        let (offset, length) = (u64_at(segment, 8)?, u64_at(segment, 32)?);
        build_id::in_notes(&bytes.part(offset, length.min(MAX_NOTES_BYTES))?.whole().ok()?)
    };
    notes.find_map(build_id)
}

fn sections(bytes: &Bytes, header: &[u8]) -> Option<Vec<Section>> {
    let (table, count, names) = (u64_at(header, 40)?, u16_at(header, 60)?, u16_at(header, 62)?);
    let table = bytes.part(table, u64::from(count) * SECTION_HEADER_BYTES as u64)?.whole().ok()?;
    let headers: Vec<_> = table.chunks_exact(SECTION_HEADER_BYTES).collect();
    let names = headers.get(usize::from(names))?;
    let names = bytes.part(u64_at(names, 24)?, u64_at(names, 32)?.min(MAX_NAMES_BYTES))?.whole().ok()?;
    let section = |header: &&[u8]| {
        let name = names.get(u32_at(header, 0)? as usize..)?;
        let length = name.iter().take(MAX_NAME_BYTES).position(|byte| *byte == 0)?;
        let name = &name[..length];
        // The section has no bytes in the file.
        let is_empty = u32_at(header, 4)? == elf::SHT_NOBITS;
        Some(Section {
            name: String::from_utf8_lossy(name).into_owned(),
            offset: u64_at(header, 24)?,
            length: if is_empty { 0 } else { u64_at(header, 32)? },
            is_compressed: u64_at(header, 8)? & u64::from(elf::SHF_COMPRESSED) != 0,
        })
    };
    Some(headers.iter().filter_map(section).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with note segments, the last of which has a build id, and with
    /// two sections.
    fn file(segments: usize, name: &str) -> Vec<u8> {
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let note = [&[4, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0", &[7, 0, 0, 0]].concat();
        let names = format!("{name}\0");
        let (note_at, names_at) = (64, 64 + note.len());
        let segments_at = names_at + names.len();
        let sections_at = segments_at + segments * SEGMENT_HEADER_BYTES;
        let segment = |n: usize| {
            let length = if n + 1 == segments { note.len() } else { 0 };
            words(&[u64::from(elf::PT_NOTE), note_at as u64, 0, 0, length as u64, 0, 0])
        };
        let section = |length: usize| words(&[0, 0, 0, names_at as u64, length as u64, 0, 0, 0]);
        let mut file = [&b"\x7FELF\x02\x01"[..], &[0; 26]].concat();
        file.extend(words(&[segments_at as u64, sections_at as u64]));
        file.extend([0; 8]);
        file.extend((segments as u16).to_le_bytes());
        file.extend([[0; 2], 2_u16.to_le_bytes(), 1_u16.to_le_bytes()].concat());
        file.extend([&note, names.as_bytes()].concat());
        file.extend((0..segments).flat_map(segment));
        file.extend([section(1), section(names.len())].concat());
        file
    }

    #[test]
    fn long_names_and_many_notes_are_not_read() {
        let parsed = |segments, name: &str| Elf::parse(Bytes::from_memory(file(segments, name))).unwrap();
        let usual = parsed(MAX_NOTE_SEGMENTS, ".text");
        assert_eq!(usual.build_id(), Some(&[7][..]));
        assert!(usual.has_section(".text"));
        let unusual = parsed(MAX_NOTE_SEGMENTS + 1, &"x".repeat(MAX_NAME_BYTES));
        assert_eq!(unusual.build_id(), None);
        assert_eq!(unusual.sections.len(), 0);
    }
}
