//! Debug information that a test has made up.

use gimli::{Dwarf, SectionId};

use crate::diagnose::image::bytes::Bytes;

/// The attributes of a unit with a list of ranges, of a function in it, and of
/// a call that was inlined there. All have names in place.
pub(super) const TABLE: [u8; 28] = [
    1, 0x11, 1, 0x55, 0x17, 0x03, 0x08, 0, 0, // DW_TAG_compile_unit
    2, 0x2E, 1, 0x55, 0x17, 0x03, 0x08, 0, 0, // DW_TAG_subprogram
    3, 0x1D, 1, 0x55, 0x17, 0x03, 0x08, 0, 0, // DW_TAG_inlined_subroutine
    0,
];

/// The sections of a made-up file.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) abbreviations: Vec<u8>,
    pub(super) info: Vec<u8>,
    pub(super) ranges: Vec<u8>,
    pub(super) lines: Vec<u8>,
}

impl Sections {
    /// Adds a unit whose entries are these bytes.
    pub(super) fn add_unit(&mut self, table_at: usize, entries: &[u8]) {
        self.info.extend((entries.len() as u32 + 7).to_le_bytes());
        self.info.extend(4_u16.to_le_bytes());
        self.info.extend((table_at as u32).to_le_bytes());
        self.info.push(8);
        self.info.extend(entries);
    }

    /// Adds a list of ranges and returns its place.
    pub(super) fn add_ranges(&mut self, ranges: &[(u64, u64)]) -> u32 {
        let place = self.ranges.len() as u32;
        for (begin, end) in ranges.iter().chain([&(0, 0)]) {
            self.ranges.extend([begin.to_le_bytes(), end.to_le_bytes()].concat());
        }
        place
    }

    pub(super) fn dwarf(&self) -> Dwarf<Bytes> {
        let section = |id: SectionId| match id {
            SectionId::DebugAbbrev => &self.abbreviations[..],
            SectionId::DebugInfo => &self.info,
            SectionId::DebugRanges => &self.ranges,
            SectionId::DebugLine => &self.lines,
            _ => &[],
        };
        Dwarf::load(|id| Ok::<_, gimli::Error>(Bytes::from_memory(section(id).to_vec()))).unwrap()
    }
}

/// Returns an entry of [`TABLE`].
pub(super) fn entry(code: u8, ranges_at: u32, name: &str) -> Vec<u8> {
    [&[code], &ranges_at.to_le_bytes()[..], name.as_bytes(), &[0]].concat()
}
