//! The tables that units refer to: the attributes that entries have, and the
//! files of lines. Units may share one, and tables may overlap, so the size of
//! the file does not bound what is read. A cache would not either, and would
//! keep all of it.

use std::sync::Arc;

use gimli::{
    Abbreviations, AttributeValue, DebugAbbrevOffset, Dwarf, Reader, Section, Unit, UnitHeader, constants,
};

use crate::diagnose::image::bytes::Bytes;

/// A longer table is not read: it takes some ten times its size in memory.
/// These are a hundred times the longest ones in Node.js and in our own
/// programs.
const MAX_ABBREVIATION_BYTES: usize = 256 * 1024;
const MAX_LINE_HEADER_BYTES: usize = 1 << 20;
/// How many bytes of tables are read for one look-up, or for all units once. A
/// Rust program of 500 MB has 5 MB.
pub(super) const MAX_BYTES_READ: usize = 1 << 29;
/// A table that gives an entry more attributes is not read. They need not take
/// any bytes in the entry.
const MAX_ATTRIBUTES: usize = 128;
/// What a unit counts that cannot be read. An unterminated name may have been
/// searched for its end.
const BROKEN_UNIT_BYTES: usize = 64 * 1024;

/// Reads the unit with a header. Takes what it reads from `bytes_left`.
pub(super) fn open_unit(
    dwarf: &Dwarf<Bytes>,
    header: UnitHeader<Bytes>,
    bytes_left: &mut usize,
) -> gimli::Result<Unit<Bytes>> {
    let abbreviations = abbreviations(dwarf, header.debug_abbrev_offset(), bytes_left)?;
    open_unit_with(dwarf, header, abbreviations, bytes_left)
}

/// As [`open_unit`], with a table that was read before.
pub(super) fn open_unit_with(
    dwarf: &Dwarf<Bytes>,
    header: UnitHeader<Bytes>,
    abbreviations: Arc<Abbreviations>,
    bytes_left: &mut usize,
) -> gimli::Result<Unit<Bytes>> {
    let line_header = line_header_bytes(dwarf, &header, &abbreviations)?;
    if line_header > MAX_LINE_HEADER_BYTES.min(*bytes_left) {
        return Err(gimli::Error::OffsetOutOfBounds(line_header as u64));
    }
    let unit = Unit::new_with_abbreviations(dwarf, header, abbreviations);
    let bytes = unit.as_ref().map_or(line_header + BROKEN_UNIT_BYTES, |unit| {
        let names = [&unit.name, &unit.comp_dir].into_iter().flatten();
        names.map(Reader::len).fold(line_header, usize::saturating_add)
    });
    *bytes_left = bytes_left.saturating_sub(bytes);
    unit
}

/// Returns how many bytes the list of files has that a unit refers to.
fn line_header_bytes(
    dwarf: &Dwarf<Bytes>,
    header: &UnitHeader<Bytes>,
    abbreviations: &Abbreviations,
) -> gimli::Result<usize> {
    let mut entries = header.entries(abbreviations);
    let lines = entries.next_dfs()?.and_then(|root| root.attr_value(constants::DW_AT_stmt_list));
    let Some(AttributeValue::DebugLineRef(offset)) = lines else { return Ok(0) };
    let mut lines = dwarf.debug_line.reader().clone();
    lines.skip(offset.0)?;
    let (_, format) = lines.read_initial_length()?;
    if lines.read_u16()? >= 5 {
        // The sizes of an address and of a segment's number.
        lines.skip(2)?;
    }
    lines.read_length(format)
}

/// Reads the table of the attributes that the entries of a unit have. Takes its
/// size from `bytes_left`.
pub(super) fn abbreviations(
    dwarf: &Dwarf<Bytes>,
    offset: DebugAbbrevOffset<usize>,
    bytes_left: &mut usize,
) -> gimli::Result<Arc<Abbreviations>> {
    let max_bytes = MAX_ABBREVIATION_BYTES.min(*bytes_left);
    let bytes = abbreviation_bytes(dwarf, offset.0, max_bytes);
    // What is not a table may have been read in vain.
    *bytes_left = bytes_left.saturating_sub(*bytes.as_ref().unwrap_or(&max_bytes));
    bytes?;
    dwarf.debug_abbrev.abbreviations(offset).map(Arc::new)
}

/// Returns how many bytes a table has, or an error if there are too many.
fn abbreviation_bytes(dwarf: &Dwarf<Bytes>, offset: usize, max_bytes: usize) -> gimli::Result<usize> {
    let mut table = dwarf.debug_abbrev.reader().clone();
    table.skip(offset)?;
    let is_cut = table.len() > max_bytes;
    table.truncate(table.len().min(max_bytes))?;
    let begin = table.clone();
    // gimli also takes the end of the section for that of the table.
    while (is_cut || !table.is_empty()) && table.read_uleb128()? != 0 {
        // The tag, and whether there are children.
        table.skip_leb128()?;
        table.skip(1)?;
        for attribute in 0.. {
            if attribute > MAX_ATTRIBUTES {
                return Err(gimli::Error::OffsetOutOfBounds(offset as u64));
            }
            let (name, form) = (table.read_uleb128()?, table.read_uleb128()?);
            if (name, form) == (0, 0) {
                break;
            }
            if form == u64::from(constants::DW_FORM_implicit_const.0) {
                table.skip_leb128()?;
            }
        }
    }
    Ok(table.offset_from(&begin))
}
