//! Which compilation unit describes an address.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use gimli::{Abbreviations, AttributeValue, DebugInfoOffset, Dwarf, Reader, Unit, constants};

use crate::diagnose::compile_unit::CompileUnit;
use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::ranges::ranges_of;
use crate::diagnose::image::unit_tables;

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
        let limits = Limits { ranges: MAX_RANGES_READ, table_bytes: unit_tables::MAX_BYTES_READ };
        Self::read_within(dwarf, limits)
    }

    fn read_within(dwarf: &Dwarf<Bytes>, mut left: Limits) -> Self {
        let mut index = Self::default();
        let mut headers = dwarf.units();
        // Where all units have one table, it is read once.
        let mut last_table = None::<(usize, Arc<Abbreviations>)>;
        while let Ok(Some(header)) = headers.next() {
            if index.units.len() >= MAX_UNITS {
                break;
            }
            let Some(offset) = header.debug_info_offset() else { continue };
            index.units.push(offset.0);
            let table_at = header.debug_abbrev_offset();
            let table = match last_table.take_if(|(at, _)| *at == table_at.0) {
                Some((_, table)) => table,
                None => match unit_tables::abbreviations(dwarf, table_at, &mut left.table_bytes) {
                    Ok(table) => table,
                    Err(_) => continue,
                },
            };
            last_table = Some((table_at.0, Arc::clone(&table)));
            let unit = unit_tables::open_unit_with(dwarf, header, table, &mut left.table_bytes);
            let _ = unit.and_then(|unit| index.add(dwarf, &unit, offset.0, &mut left.ranges));
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
        unit: &Unit<Bytes>,
        offset: usize,
        ranges_left: &mut usize,
    ) -> gimli::Result<()> {
        self.compile_units.extend(rust_compile_unit(unit)?);
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
    pub(super) fn unit_around(
        &self,
        dwarf: &Dwarf<Bytes>,
        offset: usize,
        table_bytes_left: &mut usize,
    ) -> gimli::Result<Unit<Bytes>> {
        let unit = self.offset_around(offset).ok_or(gimli::Error::NoEntryAtGivenOffset(offset as u64))?;
        read_unit(dwarf, unit, table_bytes_left)
    }
}

/// How much may still be read for the index.
struct Limits {
    ranges: usize,
    table_bytes: usize,
}

/// Reads the unit at an offset in `.debug_info`.
pub(super) fn read_unit(
    dwarf: &Dwarf<Bytes>,
    offset: usize,
    table_bytes_left: &mut usize,
) -> gimli::Result<Unit<Bytes>> {
    unit_tables::open_unit(dwarf, dwarf.unit_header(DebugInfoOffset(offset))?, table_bytes_left)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::image::made_up_units::{Sections, TABLE, entry};

    const PLENTY: Limits = Limits { ranges: usize::MAX, table_bytes: usize::MAX };

    /// Returns how many of some units are read, each of which has its table at
    /// one of these places.
    fn read_units(abbreviations: &[u8], tables: &[usize], table_bytes: usize) -> usize {
        let mut sections = Sections { abbreviations: abbreviations.to_vec(), ..Sections::default() };
        let ranges = sections.add_ranges(&[(16, 32)]);
        for table in tables {
            sections.add_unit(*table, &entry(1, ranges, ""));
        }
        UnitIndex::read_within(&sections.dwarf(), Limits { table_bytes, ..PLENTY }).units_at(20).count()
    }

    #[test]
    fn tables_are_read_up_to_a_limit() {
        let two = [TABLE, TABLE].concat();
        let (one, other) = (0, TABLE.len());
        assert_eq!(read_units(&two, &[one, other, one, other], 4 * TABLE.len()), 4);
        assert_eq!(read_units(&two, &[one, other, one, other], 3 * TABLE.len()), 3);
        assert_eq!(read_units(&two, &[one; 5], TABLE.len()), 5);
    }

    #[test]
    fn long_tables_are_not_read() {
        // Entries of no use before the end of the table.
        let with = |entries: &[u8]| [&TABLE[..TABLE.len() - 1], entries, &[0]].concat();
        let many: Vec<_> = (0..100_000_u32)
            .flat_map(|code| {
                let code = code + 200;
                [code as u8 | 0x80, (code >> 7) as u8 | 0x80, (code >> 14) as u8, 0x2E, 0, 0, 0]
            })
            .collect();
        assert_eq!(read_units(&with(&many[..7000]), &[0], usize::MAX), 1);
        assert_eq!(read_units(&with(&many), &[0], usize::MAX), 0);
        // Attributes that take no bytes.
        let attributes = |count: usize| [&[4, 0x2E, 0][..], &[0x3F, 0x19].repeat(count), &[0, 0]].concat();
        assert_eq!(read_units(&with(&attributes(100)), &[0], usize::MAX), 1);
        assert_eq!(read_units(&with(&attributes(200)), &[0], usize::MAX), 0);
    }

    #[test]
    fn long_lists_of_files_are_not_read() {
        let is_read = |files: usize, table_bytes: &mut usize| {
            let header = [&[1, 1, 1, 0, 1, 1, 0][..], &[b'f', 0, 0, 0, 0].repeat(files), &[0]].concat();
            let lines = [
                &(header.len() as u32 + 6).to_le_bytes()[..],
                &4_u16.to_le_bytes(),
                &(header.len() as u32).to_le_bytes(),
                &header,
            ];
            // DW_TAG_compile_unit with DW_AT_stmt_list.
            let abbreviations = vec![1, 0x11, 0, 0x10, 0x17, 0, 0, 0];
            let mut sections = Sections { abbreviations, lines: lines.concat(), ..Sections::default() };
            sections.add_unit(0, &[1, 0, 0, 0, 0]);
            read_unit(&sections.dwarf(), 0, table_bytes).is_ok()
        };
        let mut left = 12_000;
        assert!(is_read(1000, &mut left) && left < 7000);
        assert!(is_read(1000, &mut left) && left < 2000);
        assert!(!is_read(1000, &mut left));
        assert!(!is_read(300_000, &mut usize::MAX.clone()));
    }

    /// gimli adds the numbers, and panics in a build with checks.
    #[test]
    fn a_unit_that_ends_behind_all_addresses_is_not_used() {
        // DW_TAG_compile_unit with DW_AT_low_pc and DW_AT_high_pc.
        let abbreviations = vec![1, 0x11, 0, 0x11, 0x01, 0x12, 0x07, 0, 0, 0];
        let mut sections = Sections { abbreviations, ..Sections::default() };
        for low in [16_u64, u64::MAX - 16] {
            sections.add_unit(0, &[&[1][..], &low.to_le_bytes(), &64_u64.to_le_bytes()].concat());
        }
        let index = UnitIndex::read_within(&sections.dwarf(), PLENTY);
        assert_eq!(index.ranges.len(), 1);
    }
}
