//! The ranges of code that an entry has.

use gimli::{AttributeValue, DebuggingInformationEntry, RangeIter, UnitRef, constants};

use crate::diagnose::image::bytes::Bytes;

/// Returns the ranges of an entry. Entries may share one list, so the caller
/// bounds how many it reads of all.
pub(crate) fn ranges_of(
    unit: UnitRef<'_, Bytes>,
    entry: &DebuggingInformationEntry<Bytes>,
) -> gimli::Result<RangeIter<Bytes>> {
    // gimli adds these without a check.
    if let Some(low) = entry.attr_value(constants::DW_AT_low_pc)
        && let Some(AttributeValue::Udata(size)) = entry.attr_value(constants::DW_AT_high_pc)
        && unit.attr_address(low)?.is_some_and(|low| low.checked_add(size).is_none())
    {
        return Err(gimli::Error::AddressOverflow);
    }
    unit.die_ranges(entry)
}
