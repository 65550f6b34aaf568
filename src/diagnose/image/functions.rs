//! The functions around an address, with the inlined ones, from a unit's
//! entries.

use gimli::{Abbreviation, AttributeValue, EntriesRaw, Range, Reader, UnitOffset, UnitRef, constants};

use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::units::UnitIndex;

/// An entry names its function through at most this many other entries.
const MAX_NAME_STEPS: usize = 16;

/// A function or an inlined function.
#[derive(Debug, Default)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    /// For an inlined function, the file's number in the unit, and the line and
    /// column of its call.
    pub(super) call_file: Option<u64>,
    pub(super) call_line: Option<u32>,
    pub(super) call_column: Option<u32>,
}

/// The number of functions whose entries are remembered.
const MAX_KNOWN_ENTRIES: usize = 1024;

/// Where the entries of functions are that were looked up before. A loop is
/// sampled at many addresses of the same functions.
#[derive(Debug, Default)]
pub(super) struct KnownEntries(Vec<KnownEntry>);

#[derive(Debug)]
struct KnownEntry {
    begin: u64,
    end: u64,
    /// The offset of the unit in `.debug_info` of the program.
    unit: usize,
    offset: UnitOffset<usize>,
}

impl KnownEntries {
    fn find(&self, unit: usize, address: u64) -> Option<UnitOffset<usize>> {
        let is_around =
            |entry: &&KnownEntry| entry.unit == unit && (entry.begin..entry.end).contains(&address);
        self.0.iter().find(is_around).map(|entry| entry.offset)
    }

    fn add(&mut self, entry: KnownEntry) {
        if self.0.len() >= MAX_KNOWN_ENTRIES {
            self.0.clear();
        }
        self.0.push(entry);
    }
}

/// Returns the functions around each address, the outermost first; none for an
/// address that the unit does not describe. Reads the unit at most once.
/// `unit_offset` is the offset of the unit in the program.
pub(super) fn functions(
    unit: UnitRef<'_, Bytes>,
    unit_offset: usize,
    index: &UnitIndex,
    known: &mut KnownEntries,
    addresses: &[u64],
) -> gimli::Result<Vec<Vec<Function>>> {
    let mut found: Vec<_> = addresses.iter().map(|address| known.find(unit_offset, *address)).collect();
    let mut entries = unit.entries_raw(None)?;
    while !entries.is_empty() && found.contains(&None) {
        let offset = entries.next_offset();
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        if abbreviation.tag() != constants::DW_TAG_subprogram {
            entries.skip_attributes(abbreviation.attributes())?;
            continue;
        }
        let attributes = read_attributes(unit, &mut entries, abbreviation)?;
        attributes.for_each_range(unit, |range| {
            for (address, found) in addresses.iter().zip(&mut found) {
                if (range.begin..range.end).contains(address) && found.is_none() {
                    *found = Some(offset);
                    known.add(KnownEntry { begin: range.begin, end: range.end, unit: unit_offset, offset });
                }
            }
        })?;
    }
    let functions = |(found, address): (Option<UnitOffset<usize>>, &u64)| {
        found.map(|offset| functions_within(unit, index, offset, *address)).unwrap_or(Ok(Vec::new()))
    };
    found.into_iter().zip(addresses).map(functions).collect()
}

/// Returns a function, and the inlined functions in it that contain an address.
fn functions_within(
    unit: UnitRef<'_, Bytes>,
    index: &UnitIndex,
    offset: UnitOffset<usize>,
    address: u64,
) -> gimli::Result<Vec<Function>> {
    let mut entries = unit.entries_raw(Some(offset))?;
    let outermost_depth = entries.next_depth();
    let mut chain = Vec::new();
    if let Some(abbreviation) = entries.read_abbreviation()? {
        let attributes = read_attributes(unit, &mut entries, abbreviation)?;
        chain.push(attributes.function(unit, index));
    }
    // The depth of the innermost function so far.
    let mut depth = outermost_depth;
    let mut skipped_depth = None::<isize>;
    while !entries.is_empty() && entries.next_depth() > depth {
        let entry_depth = entries.next_depth();
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        let is_inlined = abbreviation.tag() == constants::DW_TAG_inlined_subroutine;
        if skipped_depth.is_some_and(|skipped| entry_depth > skipped) {
            entries.skip_attributes(abbreviation.attributes())?;
            continue;
        }
        skipped_depth = None;
        if !is_inlined {
            entries.skip_attributes(abbreviation.attributes())?;
            // A function in a function has code of its own.
            skipped_depth = (abbreviation.tag() == constants::DW_TAG_subprogram).then_some(entry_depth);
            continue;
        }
        let attributes = read_attributes(unit, &mut entries, abbreviation)?;
        let mut is_around = false;
        attributes.for_each_range(unit, |range| is_around |= (range.begin..range.end).contains(&address))?;
        if is_around {
            chain.push(attributes.function(unit, index));
            depth = entry_depth;
        } else {
            skipped_depth = Some(entry_depth);
        }
    }
    Ok(chain)
}

/// The attributes of a function's entry that are used.
#[derive(Debug, Default)]
struct Attributes {
    low: Option<u64>,
    high: Option<u64>,
    size: Option<u64>,
    ranges: Option<AttributeValue<Bytes>>,
    linkage_name: Option<AttributeValue<Bytes>>,
    name: Option<AttributeValue<Bytes>>,
    /// Another entry that has the name.
    origin: Option<AttributeValue<Bytes>>,
    call_file: Option<u64>,
    call_line: Option<u32>,
    call_column: Option<u32>,
}

fn read_attributes(
    unit: UnitRef<'_, Bytes>,
    entries: &mut EntriesRaw<'_, Bytes>,
    abbreviation: &Abbreviation,
) -> gimli::Result<Attributes> {
    let mut attributes = Attributes::default();
    for specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(*specification)?;
        let value = attribute.value();
        match attribute.name() {
            constants::DW_AT_low_pc => attributes.low = unit.attr_address(value)?,
            constants::DW_AT_high_pc => match value {
                AttributeValue::Udata(size) => attributes.size = Some(size),
                value => attributes.high = unit.attr_address(value)?,
            },
            constants::DW_AT_ranges => attributes.ranges = Some(value),
            constants::DW_AT_linkage_name | constants::DW_AT_MIPS_linkage_name => {
                attributes.linkage_name = Some(value)
            }
            constants::DW_AT_name => attributes.name = Some(value),
            constants::DW_AT_abstract_origin | constants::DW_AT_specification => {
                attributes.origin = Some(value)
            }
            constants::DW_AT_call_file => {
                attributes.call_file = match value {
                    AttributeValue::FileIndex(number) => Some(number),
                    value => value.udata_value(),
                };
            }
            constants::DW_AT_call_line => attributes.call_line = positive(&value),
            constants::DW_AT_call_column => attributes.call_column = positive(&value),
            _ => {}
        }
    }
    Ok(attributes)
}

/// Returns a line or column. Zero means that it is not known.
fn positive(value: &AttributeValue<Bytes>) -> Option<u32> {
    value.udata_value().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0)
}

impl Attributes {
    fn for_each_range(&self, unit: UnitRef<'_, Bytes>, mut f: impl FnMut(Range)) -> gimli::Result<()> {
        let end = self.low.and_then(|low| self.high.or_else(|| low.checked_add(self.size?)));
        if let Some(ranges) = &self.ranges {
            let Some(mut ranges) = unit.attr_ranges(ranges.clone())? else { return Ok(()) };
            while let Some(range) = ranges.next()? {
                f(range);
            }
        } else if let (Some(begin), Some(end)) = (self.low, end)
            && begin < end
        {
            f(Range { begin, end });
        }
        Ok(())
    }

    fn function(self, unit: UnitRef<'_, Bytes>, index: &UnitIndex) -> Function {
        let Self { call_file, call_line, call_column, .. } = self;
        // Without its name, a function still has its line.
        let name = self.name(unit, index, MAX_NAME_STEPS).ok().flatten();
        Function { name, call_file, call_line, call_column }
    }

    fn name(
        self,
        unit: UnitRef<'_, Bytes>,
        index: &UnitIndex,
        steps: usize,
    ) -> gimli::Result<Option<String>> {
        if let Some(name) = self.linkage_name.or(self.name) {
            let name = unit.attr_string(name)?;
            return Ok(Some(name.to_string_lossy()?.into_owned()));
        }
        let Some(steps) = steps.checked_sub(1) else { return Ok(None) };
        match self.origin {
            Some(AttributeValue::UnitRef(offset)) => Self::at(unit, offset)?.name(unit, index, steps),
            Some(AttributeValue::DebugInfoRef(offset)) => {
                let other = index.unit_around(unit.dwarf, offset.0)?;
                let Some(offset) = offset.to_unit_offset(&other.header) else { return Ok(None) };
                let other = other.unit_ref(unit.dwarf);
                Self::at(other, offset)?.name(other, index, steps)
            }
            _ => Ok(None),
        }
    }

    fn at(unit: UnitRef<'_, Bytes>, offset: UnitOffset<usize>) -> gimli::Result<Self> {
        let mut entries = unit.entries_raw(Some(offset))?;
        match entries.read_abbreviation()? {
            Some(abbreviation) => read_attributes(unit, &mut entries, abbreviation),
            None => Ok(Self::default()),
        }
    }
}
