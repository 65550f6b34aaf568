//! The functions around an address, with the inlined ones, from a unit's
//! entries.

use gimli::{Abbreviation, AttributeValue, EntriesRaw, Range, Reader, UnitOffset, UnitRef, constants};

use crate::diagnose::image::budget::Budget;
use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::sought::Sought;
use crate::diagnose::image::units::UnitIndex;

/// An entry names its function through at most this many other entries.
const MAX_NAME_STEPS: usize = 16;
/// A longer name of a function is cut.
const MAX_NAME_BYTES: usize = 64 * 1024;
/// The functions around an address that are read, the outermost first.
const MAX_INLINED_CALLS: usize = 1024;

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

/// How many steps a name counts that cannot be read: it may have been searched
/// for its end.
const BROKEN_NAME_STEPS: usize = 1 << 16;
/// An entry counts as one step for so many of its attributes, which need not
/// take any bytes.
const ATTRIBUTES_PER_STEP: usize = 8;
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

/// What a look-up of functions needs besides their unit.
#[derive(Debug)]
pub(super) struct LookUp<'l> {
    pub(super) index: &'l UnitIndex,
    pub(super) known: &'l mut KnownEntries,
    pub(super) budget: &'l mut Budget,
}

/// Returns the functions around each address, the outermost first; none for an
/// address that the unit does not describe. Reads the unit at most once.
/// `unit_offset` is the offset of the unit in the program. Once the budget is
/// used up, no more functions are found.
pub(super) fn functions(
    unit: UnitRef<'_, Bytes>,
    unit_offset: usize,
    look_up: &mut LookUp<'_>,
    addresses: &[u64],
) -> gimli::Result<Vec<Vec<Function>>> {
    let LookUp { known, budget, .. } = &mut *look_up;
    let mut found: Vec<_> = addresses.iter().map(|address| known.find(unit_offset, *address)).collect();
    let unknown = addresses.iter().enumerate().filter(|(at, _)| found[*at].is_none());
    let mut sought = Sought::new(unknown.map(|(at, address)| (*address, at)));
    let mut entries = unit.entries_raw(None)?;
    while !entries.is_empty() && !sought.is_empty() && budget.step() {
        let offset = entries.next_offset();
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        budget.take_steps(abbreviation.attributes().len() / ATTRIBUTES_PER_STEP);
        if abbreviation.tag() != constants::DW_TAG_subprogram {
            entries.skip_attributes(abbreviation.attributes())?;
            continue;
        }
        let attributes = read_attributes(unit, &mut entries, abbreviation)?;
        attributes.for_each_range(unit, budget, |range| {
            let mut is_around = false;
            for at in sought.take(range.begin..range.end) {
                found[at] = Some(offset);
                is_around = true;
            }
            if is_around {
                known.add(KnownEntry { begin: range.begin, end: range.end, unit: unit_offset, offset });
            }
        })?;
    }
    let functions = |(found, address): (Option<UnitOffset<usize>>, &u64)| {
        found.map(|offset| functions_within(unit, look_up, offset, *address)).unwrap_or(Ok(Vec::new()))
    };
    found.into_iter().zip(addresses).map(functions).collect()
}

/// Returns a function, and the inlined functions in it that contain an address.
fn functions_within(
    unit: UnitRef<'_, Bytes>,
    look_up: &mut LookUp<'_>,
    offset: UnitOffset<usize>,
    address: u64,
) -> gimli::Result<Vec<Function>> {
    let mut entries = unit.entries_raw(Some(offset))?;
    let outermost_depth = entries.next_depth();
    let mut chain = Vec::new();
    if let Some(abbreviation) = entries.read_abbreviation()? {
        let attributes = read_attributes(unit, &mut entries, abbreviation)?;
        chain.push(attributes.function(unit, look_up));
    }
    // The depth of the innermost function so far.
    let mut depth = outermost_depth;
    let mut skipped_depth = None::<isize>;
    while !entries.is_empty() && entries.next_depth() > depth && chain.len() < MAX_INLINED_CALLS {
        if !look_up.budget.step() {
            return Ok(Vec::new());
        }
        let entry_depth = entries.next_depth();
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        look_up.budget.take_steps(abbreviation.attributes().len() / ATTRIBUTES_PER_STEP);
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
        attributes.for_each_range(unit, look_up.budget, |range| {
            is_around |= (range.begin..range.end).contains(&address);
        })?;
        if is_around {
            chain.push(attributes.function(unit, look_up));
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
    fn for_each_range(
        &self,
        unit: UnitRef<'_, Bytes>,
        budget: &mut Budget,
        mut f: impl FnMut(Range),
    ) -> gimli::Result<()> {
        let end = self.low.and_then(|low| self.high.or_else(|| low.checked_add(self.size?)));
        if let Some(ranges) = &self.ranges {
            let Some(mut ranges) = unit.attr_ranges(ranges.clone())? else { return Ok(()) };
            while budget.step()
                && let Some(range) = ranges.next()?
            {
                f(range);
            }
        } else if let (Some(begin), Some(end)) = (self.low, end)
            && begin < end
        {
            f(Range { begin, end });
        }
        Ok(())
    }

    fn function(self, unit: UnitRef<'_, Bytes>, look_up: &mut LookUp<'_>) -> Function {
        let Self { call_file, call_line, call_column, .. } = self;
        // Without its name, a function still has its line.
        let name = self.name(unit, look_up, MAX_NAME_STEPS).ok().flatten();
        Function { name, call_file, call_line, call_column }
    }

    fn name(
        self,
        unit: UnitRef<'_, Bytes>,
        look_up: &mut LookUp<'_>,
        steps: usize,
    ) -> gimli::Result<Option<String>> {
        if let Some(name) = self.linkage_name.or(self.name) {
            if look_up.budget.is_used_up() {
                return Ok(None);
            }
            let mut name = unit.attr_string(name).inspect_err(|_| {
                look_up.budget.take_steps(BROKEN_NAME_STEPS);
            })?;
            if !look_up.budget.take_name(name.len()) {
                return Ok(None);
            }
            name.truncate(name.len().min(MAX_NAME_BYTES))?;
            return Ok(Some(name.to_string_lossy()?.into_owned()));
        }
        let Some(steps) = steps.checked_sub(1) else { return Ok(None) };
        match self.origin {
            Some(AttributeValue::UnitRef(offset)) => Self::at(unit, offset)?.name(unit, look_up, steps),
            Some(AttributeValue::DebugInfoRef(offset)) => {
                let LookUp { index, budget, .. } = &mut *look_up;
                let other = index.unit_around(unit.dwarf, offset.0, &mut budget.table_bytes)?;
                let Some(offset) = offset.to_unit_offset(&other.header) else { return Ok(None) };
                let other = other.unit_ref(unit.dwarf);
                Self::at(other, offset)?.name(other, look_up, steps)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::image::made_up_units::{Sections, TABLE, entry};

    const ADDRESS: u64 = 0x1000;

    /// Returns the functions around an address in a unit with these entries.
    fn functions_in(sections: &Sections, budget: &mut Budget) -> Vec<String> {
        let dwarf = sections.dwarf();
        let index = UnitIndex::read(&dwarf);
        let unit = index.unit_around(&dwarf, 0, &mut usize::MAX.clone()).unwrap();
        let mut known = KnownEntries::default();
        let mut look_up = LookUp { index: &index, known: &mut known, budget };
        let found = functions(unit.unit_ref(&dwarf), 0, &mut look_up, &[ADDRESS]).unwrap();
        found.into_iter().flatten().map(|function| function.name.unwrap_or_default()).collect()
    }

    fn with_steps(steps: usize) -> Budget {
        Budget { steps, ..Budget::default() }
    }

    /// A unit with functions and inlined calls, which come after as many that
    /// are elsewhere and share one list.
    fn with_shared_list(elsewhere: usize, inlined_elsewhere: usize) -> Sections {
        let mut sections = Sections { abbreviations: TABLE.to_vec(), ..Sections::default() };
        let shared = sections.add_ranges(&[(16, 32); 100]);
        let around = sections.add_ranges(&[(ADDRESS, ADDRESS + 16)]);
        let other = |code: u8| [entry(code, shared, ""), vec![0]].concat();
        let entries = [
            entry(1, shared, ""),
            other(2).repeat(elsewhere),
            entry(2, around, "outer"),
            other(3).repeat(inlined_elsewhere),
            entry(3, around, "inner"),
            vec![0, 0, 0],
        ];
        sections.add_unit(0, &entries.concat());
        sections
    }

    #[test]
    fn ranges_are_read_up_to_a_limit() {
        for sections in [with_shared_list(10, 0), with_shared_list(0, 10)] {
            let mut budget = with_steps(1200);
            assert_eq!(functions_in(&sections, &mut budget), ["outer", "inner"]);
            assert!(!budget.is_used_up());
            budget = with_steps(800);
            assert_eq!(functions_in(&sections, &mut budget), [""; 0]);
            assert!(budget.is_used_up());
        }
    }

    #[test]
    fn entries_are_read_up_to_a_limit() {
        let mut sections = Sections { abbreviations: TABLE.to_vec(), ..Sections::default() };
        let around = sections.add_ranges(&[(ADDRESS, ADDRESS + 16)]);
        let entries = [entry(1, around, ""), vec![0; 1000], entry(2, around, "outer"), vec![0; 2]];
        sections.add_unit(0, &entries.concat());
        assert_eq!(functions_in(&sections, &mut with_steps(1100)), ["outer"]);
        assert_eq!(functions_in(&sections, &mut with_steps(900)), [""; 0]);
    }

    #[test]
    fn names_are_read_up_to_a_limit() {
        let sections = with_shared_list(0, 0);
        let budget = |name_bytes: usize| Budget { name_bytes, ..Budget::default() };
        assert_eq!(functions_in(&sections, &mut budget(11)), ["outer", "inner"]);
        let mut small = budget(9);
        assert_eq!(functions_in(&sections, &mut small), ["outer", ""]);
        assert!(small.is_used_up());
    }

    #[test]
    fn entries_with_many_attributes_take_more_of_the_budget() {
        // Attributes that take no bytes, of a DW_TAG_lexical_block.
        let many = [&[4, 0x0B, 0][..], &[0x3F, 0x19].repeat(100), &[0, 0, 0]].concat();
        let abbreviations = [&TABLE[..TABLE.len() - 1], &many].concat();
        let mut sections = Sections { abbreviations, ..Sections::default() };
        let around = sections.add_ranges(&[(ADDRESS, ADDRESS + 16)]);
        let entries = [entry(1, around, ""), vec![4; 100], entry(2, around, "outer"), vec![0; 2]];
        sections.add_unit(0, &entries.concat());
        let per_entry = 1 + 100 / ATTRIBUTES_PER_STEP;
        assert_eq!(functions_in(&sections, &mut with_steps(100 * per_entry + 10)), ["outer"]);
        assert_eq!(functions_in(&sections, &mut with_steps(100 * per_entry - 10)), [""; 0]);
    }

    #[test]
    fn broken_names_take_more_of_the_budget() {
        // DW_TAG_compile_unit and DW_TAG_subprogram, with a name that is
        // elsewhere: no section has it.
        let abbreviations = [1, 0x11, 1, 0x55, 0x17, 0, 0, 2, 0x2E, 0, 0x55, 0x17, 0x03, 0x0E, 0, 0, 0];
        let mut sections = Sections { abbreviations: abbreviations.to_vec(), ..Sections::default() };
        let around = sections.add_ranges(&[(ADDRESS, ADDRESS + 16)]).to_le_bytes();
        sections.add_unit(0, &[&[1][..], &around, &[2], &around, &[0; 4], &[0]].concat());
        let mut budget = with_steps(2 * BROKEN_NAME_STEPS);
        assert_eq!(functions_in(&sections, &mut budget), [""]);
        assert!((1..BROKEN_NAME_STEPS).contains(&budget.steps), "{}", budget.steps);
    }

    #[test]
    fn calls_that_are_nested_too_deep_are_left_out() {
        let mut sections = Sections { abbreviations: TABLE.to_vec(), ..Sections::default() };
        let around = sections.add_ranges(&[(ADDRESS, ADDRESS + 16)]);
        let calls = entry(3, around, "inner").repeat(2 * MAX_INLINED_CALLS);
        let end = vec![0; 2 * MAX_INLINED_CALLS + 2];
        sections.add_unit(0, &[entry(1, around, ""), entry(2, around, "outer"), calls, end].concat());
        assert_eq!(functions_in(&sections, &mut Budget::default()).len(), MAX_INLINED_CALLS);
    }
}
