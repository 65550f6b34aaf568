//! Which compilation unit describes an address.

use std::collections::BTreeSet;
use std::path::PathBuf;

use gimli::{AttributeValue, DebugInfoOffset, Dwarf, Reader, Unit, UnitHeader, constants};

use crate::diagnose::compile_unit::CompileUnit;
use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::ranges::ranges_of;

/// Ranges of one unit that are at most this far apart become one range. The
/// gap is padding, or a function that belongs to no unit.
const MAX_GAP_BYTES: u64 = 256;
/// The list of ranges has at most this many entries: 6 MB.
const MAX_RANGES: usize = 256 * 1024;
/// So many ranges are read. Units may share one list.
const MAX_RANGES_READ: usize = 1 << 24;
const MAX_UNITS: usize = 1 << 18;

/// The addresses of all units. It is a small part of the debug information, so
/// it stays in memory.
#[derive(Debug, Default)]
pub(super) struct UnitIndex {
    /// Sorted by `begin`.
    ranges: Vec<UnitRange>,
    /// The offset of each unit, sorted.
    units: Vec<usize>,
    /// Where Rust code was compiled.
    pub(super) compile_units: BTreeSet<CompileUnit>,
}

#[derive(Debug)]
struct UnitRange {
    begin: u64,
    end: u64,
    /// The largest `end` of this and all earlier ranges.
    largest_end: u64,
    /// The unit's offset in `.debug_info`.
    unit: usize,
}

impl UnitIndex {
    /// Reads the first entry of each unit.
    pub(super) fn read(dwarf: &Dwarf<Bytes>) -> Self {
        let mut index = Self::default();
        let mut headers = dwarf.units();
        let mut ranges_left = MAX_RANGES_READ;
        while let Ok(Some(header)) = headers.next() {
            if index.units.len() >= MAX_UNITS {
                break;
            }
            let Some(offset) = header.debug_info_offset() else { continue };
            index.units.push(offset.0);
            let _ = index.add(dwarf, header, offset.0, &mut ranges_left);
        }
        index.ranges.sort_unstable_by_key(|range| range.begin);
        let mut largest_end = 0;
        for range in &mut index.ranges {
            largest_end = range.end.max(largest_end);
            range.largest_end = largest_end;
        }
        index.ranges.shrink_to_fit();
        index
    }

    fn add(
        &mut self,
        dwarf: &Dwarf<Bytes>,
        header: UnitHeader<Bytes>,
        offset: usize,
        ranges_left: &mut usize,
    ) -> gimli::Result<()> {
        let unit = dwarf.unit(header)?;
        self.compile_units.extend(rust_compile_unit(&unit)?);
        let mut found = Vec::new();
        let mut entries = unit.entries();
        let Some(root) = entries.next_dfs()? else { return Ok(()) };
        let mut ranges = ranges_of(unit.unit_ref(dwarf), root)?;
        while let Some(range) = ranges.next()? {
            let Some(left) = ranges_left.checked_sub(1) else { break };
            *ranges_left = left;
            // The linker leaves zeros for functions that it removed.
            if range.begin != 0 && range.begin < range.end {
                found.push((range.begin, range.end));
            }
        }
        found.sort_unstable();
        let first = self.ranges.len();
        for (begin, end) in found {
            let is_full = self.ranges.len() >= MAX_RANGES;
            match self.ranges[first..].last_mut() {
                Some(last) if begin <= last.end.saturating_add(MAX_GAP_BYTES) => last.end = last.end.max(end),
                _ if is_full => break,
                _ => self.ranges.push(UnitRange { begin, end, largest_end: 0, unit: offset }),
            }
        }
        Ok(())
    }

    /// Returns the offsets of the units that may describe an address.
    pub(super) fn units_at(&self, address: u64) -> impl Iterator<Item = usize> + '_ {
        let after = self.ranges.partition_point(|range| range.begin <= address);
        let before = self.ranges[..after].iter().rev().take_while(move |range| range.largest_end > address);
        before.filter(move |range| range.end > address).map(|range| range.unit)
    }

    /// Returns the offsets of all units.
    #[cfg(feature = "attach")]
    pub(super) fn offsets(&self) -> &[usize] {
        &self.units
    }

    /// Returns the offset of the unit that contains an offset in `.debug_info`.
    pub(super) fn offset_around(&self, offset: usize) -> Option<usize> {
        let after = self.units.partition_point(|unit| *unit <= offset);
        self.units[..after].last().copied()
    }

    /// Returns the unit that contains an offset in `.debug_info`.
    pub(super) fn unit_around(&self, dwarf: &Dwarf<Bytes>, offset: usize) -> gimli::Result<Unit<Bytes>> {
        let unit = self.offset_around(offset).ok_or(gimli::Error::NoEntryAtGivenOffset(offset as u64))?;
        read_unit(dwarf, unit)
    }
}

/// Reads the unit at an offset in `.debug_info`.
pub(super) fn read_unit(dwarf: &Dwarf<Bytes>, offset: usize) -> gimli::Result<Unit<Bytes>> {
    dwarf.unit(dwarf.unit_header(DebugInfoOffset(offset))?)
}

/// Returns where and how a unit was compiled, if it is Rust.
fn rust_compile_unit(unit: &Unit<Bytes>) -> gimli::Result<Option<CompileUnit>> {
    let mut entries = unit.entries();
    let Some(root) = entries.next_dfs()? else { return Ok(None) };
    let is_rust = match root.attr_value(constants::DW_AT_language) {
        Some(language) => matches!(language, AttributeValue::Language(constants::DW_LANG_Rust)),
        // A unit whose other parts are in another file has no language here.
        None => unit.dwo_id.is_some(),
    };
    let (Some(directory), Some(name)) = (unit.comp_dir.as_ref().filter(|_| is_rust), &unit.name) else {
        return Ok(None);
    };
    // The compiler appends `/@/` and the name of a part of the crate.
    let name = name.to_string()?;
    let root_file = name.split_once("/@/").map_or(&*name, |(file, _)| file);
    let directory = PathBuf::from(directory.to_string()?.into_owned());
    Ok(Some(CompileUnit { directory, root_file: PathBuf::from(root_file) }))
}
