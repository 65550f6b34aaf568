//! The sections of a file that have debug information.

use gimli::{Dwarf, SectionId};

use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::elf::Elf;
use crate::diagnose::image::missing::MissingLines;
use crate::diagnose::image::split;

/// Returns an error if a file has no debug information.
pub(super) fn lines_source(elf: &Elf, path: &str) -> Result<(), MissingLines> {
    match elf.debug_link() {
        _ if elf.has_section(".debug_info") => Ok(()),
        Some(other) if !split::is_of_system(path) => Err(MissingLines::InOtherFile(vec![other])),
        _ => Err(MissingLines::NoDebugInfo),
    }
}

/// Returns the debug information of a file.
pub(super) fn dwarf(elf: &Elf, max_memory: u64) -> Result<Dwarf<Bytes>, MissingLines> {
    load(elf, max_memory, |_| false)
}

/// As [`dwarf`], with the places of variables.
#[cfg(feature = "attach")]
pub(super) fn dwarf_with_places(elf: &Elf, max_memory: u64) -> Result<Dwarf<Bytes>, MissingLines> {
    load(elf, max_memory, |id| matches!(id, SectionId::DebugLoc | SectionId::DebugLocLists))
}

fn load(
    elf: &Elf,
    max_memory: u64,
    is_needed_too: impl Fn(SectionId) -> bool,
) -> Result<Dwarf<Bytes>, MissingLines> {
    let mut memory_left = max_memory;
    Dwarf::load(|id| {
        let is_needed = matches!(
            id,
            SectionId::DebugInfo
                | SectionId::DebugAbbrev
                | SectionId::DebugAddr
                | SectionId::DebugLine
                | SectionId::DebugLineStr
                | SectionId::DebugRanges
                | SectionId::DebugRngLists
                | SectionId::DebugStr
                | SectionId::DebugStrOffsets
        );
        if is_needed || is_needed_too(id) {
            elf.bytes_of(id.name(), &mut memory_left)
        } else {
            Ok(Bytes::empty())
        }
    })
}
