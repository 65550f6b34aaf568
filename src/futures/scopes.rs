//! The functions around an address of code, with the inlined ones, and their
//! variables.

use std::ops::Range;
use std::rc::Rc;

use gimli::{AttributeValue, DebuggingInformationEntry, UnitOffset, constants};

use crate::diagnose::image::{Bytes, OpenUnit, ranges_of};
use crate::futures::layout::{EntryId, MAX_NAME_BYTES, Reference};
use crate::futures::types::Types;

/// How many functions that begin before an address are tried.
const MAX_FUNCTIONS: usize = 8;
/// The entries that are read of one function.
const MAX_ENTRIES: usize = 1 << 18;
const MAX_SCOPES: usize = 256;
const MAX_VARIABLES: usize = 4096;
const MAX_VARIABLE_NAME_BYTES: usize = 64;
/// An entry names its function through at most this many other entries.
const MAX_NAME_STEPS: usize = 16;

/// The functions around an address.
#[derive(Debug)]
pub(super) struct Scopes {
    pub(super) unit: Rc<OpenUnit>,
    /// Where the frame begins, on which the places of variables rest.
    pub(super) frame_base: Option<AttributeValue<Bytes>>,
    /// The addresses of the code in the file.
    pub(super) code: Range<u64>,
    /// Innermost first. All but the last are inlined.
    pub(super) functions: Vec<Function>,
}

#[derive(Debug)]
pub(super) struct Function {
    /// The module, and the name with its type parameters.
    pub(super) module: String,
    pub(super) name: String,
    /// The variables and parameters, also those of functions that were inlined
    /// into it elsewhere.
    pub(super) variables: Vec<Variable>,
}

#[derive(Debug)]
pub(super) struct Variable {
    id: EntryId,
    pub(super) location: AttributeValue<Bytes>,
    /// Whether it exists at the address.
    pub(super) is_present: bool,
}

/// Returns the type of the first parameter of the function that begins at an
/// address in the file.
pub(super) fn first_parameter(types: &mut Types, address: u64) -> Option<EntryId> {
    let mut units = types.units_at(address).into_iter();
    let begins = units.any(|unit| {
        types.entries(unit).is_some_and(|entries| entries.functions_at(address).next().is_some())
    });
    let scopes =
        begins.then(|| at(types, address)).flatten().filter(|scopes| scopes.code.start == address)?;
    let (_, of_type) = scopes.functions.last()?.variables.first()?.description(types)?;
    Some(of_type)
}

/// Returns the functions around an address in the file; `None` if the debug
/// information does not describe it.
pub(super) fn at(types: &mut Types, address: u64) -> Option<Scopes> {
    let mut units = types.units_at(address);
    units.sort_unstable();
    units.dedup();
    units.into_iter().find_map(|unit| {
        let entries = types.entries(unit)?;
        let open = types.unit(unit)?;
        let around = |entry_offset: usize| {
            let entry = open.entries().entry(UnitOffset(entry_offset));
            let range = range_around(&open, &entry.ok()?, address, &mut types.ranges_left).ok()??;
            Some((entry_offset, range))
        };
        let (function, code) = entries.functions_up_to(address).take(MAX_FUNCTIONS).find_map(around)?;
        read(types, unit, open, function, code, address)
    })
}

/// Returns the range of an entry's code that an address is in. Fails if that
/// takes more ranges than may still be read.
fn range_around(
    unit: &OpenUnit,
    entry: &DebuggingInformationEntry<Bytes>,
    address: u64,
    ranges_left: &mut usize,
) -> gimli::Result<Option<Range<u64>>> {
    let mut ranges = ranges_of(unit.entries(), entry)?;
    while let Some(range) = ranges.next()? {
        *ranges_left = ranges_left.checked_sub(1).ok_or(gimli::Error::Io)?;
        if (range.begin..range.end).contains(&address) {
            return Ok(Some(range.begin..range.end));
        }
    }
    Ok(None)
}

/// A function with the entries of its variables.
#[derive(Debug)]
struct FoundFunction {
    entry: usize,
    depth: isize,
    variables: Vec<Variable>,
}

fn read(
    types: &mut Types,
    unit: usize,
    open: Rc<OpenUnit>,
    entry: usize,
    code: Range<u64>,
    address: u64,
) -> Option<Scopes> {
    let (frame_base, found) = find(&open, unit, entry, address, &mut types.ranges_left).ok()?;
    let functions = found.into_iter().rev().filter_map(|found| {
        let (module, name) = function_name(types, EntryId { unit, entry: found.entry })?;
        Some(Function { module, name, variables: found.variables })
    });
    let functions = functions.collect();
    Some(Scopes { unit: open, frame_base, code, functions })
}

/// Returns the frame's begin and the functions around an address, outermost
/// first.
fn find(
    open: &OpenUnit,
    unit: usize,
    entry: usize,
    address: u64,
    ranges_left: &mut usize,
) -> gimli::Result<(Option<AttributeValue<Bytes>>, Vec<FoundFunction>)> {
    let mut cursor = open.entries().entries_at_offset(UnitOffset(entry))?;
    let (mut frame_base, mut functions) = (None, Vec::<FoundFunction>::new());
    // The functions around the entry that is read, as indices.
    let mut around = Vec::<usize>::new();
    // What is further in than this is not around the address.
    let mut elsewhere = None::<isize>;
    for _ in 0..MAX_ENTRIES {
        let Some(entry) = cursor.next_dfs()? else { break };
        let (depth, offset) = (entry.depth(), entry.offset().0);
        if functions.first().is_some_and(|function| depth <= function.depth) {
            break;
        }
        around.retain(|at| functions.get(*at).is_some_and(|function| function.depth < depth));
        if elsewhere.is_some_and(|of| depth <= of) {
            elsewhere = None;
        }
        let mut add_function = |functions: &mut Vec<FoundFunction>| {
            around.push(functions.len());
            functions.push(FoundFunction { entry: offset, depth, variables: Vec::new() });
        };
        match entry.tag() {
            constants::DW_TAG_subprogram if functions.is_empty() => {
                frame_base = entry.attr_value(constants::DW_AT_frame_base);
                add_function(&mut functions);
            }
            constants::DW_TAG_variable | constants::DW_TAG_formal_parameter => {
                let location = entry.attr_value(constants::DW_AT_location);
                let function = around.last().and_then(|at| functions.get_mut(*at));
                if let (Some(location), Some(function)) = (location, function)
                    && function.variables.len() < MAX_VARIABLES
                {
                    let id = EntryId { unit, entry: offset };
                    function.variables.push(Variable { id, location, is_present: elsewhere.is_none() });
                }
            }
            _ if elsewhere.is_some() => {}
            constants::DW_TAG_inlined_subroutine if functions.len() < MAX_SCOPES => {
                if range_around(open, entry, address, ranges_left)?.is_some() {
                    add_function(&mut functions);
                } else {
                    elsewhere = Some(depth);
                }
            }
            constants::DW_TAG_lexical_block if range_around(open, entry, address, ranges_left)?.is_some() => {
            }
            _ => elsewhere = Some(depth),
        }
    }
    Ok((frame_base, functions))
}

/// Follows the entries that describe an entry further. Calls `each` with each
/// of them until it returns a value.
fn followed<T>(
    types: &mut Types,
    from: EntryId,
    mut each: impl FnMut(&mut Types, EntryId, &OpenUnit, &DebuggingInformationEntry<Bytes>) -> Option<T>,
) -> Option<T> {
    let mut next = from;
    for _ in 0..MAX_NAME_STEPS {
        let open = types.unit(next.unit)?;
        let entry = open.entries().entry(UnitOffset(next.entry)).ok()?;
        if let Some(found) = each(types, next, &open, &entry) {
            return Some(found);
        }
        let origin = entry
            .attr_value(constants::DW_AT_abstract_origin)
            .or_else(|| entry.attr_value(constants::DW_AT_specification))?;
        next = types.resolve(next.unit, Reference::from_value(&origin)?)?;
    }
    None
}

/// Returns the module and the name of a function.
fn function_name(types: &mut Types, function: EntryId) -> Option<(String, String)> {
    followed(types, function, |types, id, unit, entry| {
        let name = unit.text(entry.attr_value(constants::DW_AT_name)?, MAX_NAME_BYTES)?;
        Some((types.entries(id.unit)?.module_of(id.entry), name))
    })
}

impl Variable {
    /// Returns its name, which a parameter that is a pattern does not have, and
    /// its type.
    pub(super) fn description(&self, types: &mut Types) -> Option<(String, EntryId)> {
        followed(types, self.id, |types, id, unit, entry| {
            let of_type = Reference::from_value(&entry.attr_value(constants::DW_AT_type)?)?;
            let name = entry.attr_value(constants::DW_AT_name);
            let name = name.and_then(|name| unit.text(name, MAX_VARIABLE_NAME_BYTES)).unwrap_or_default();
            Some((name, types.resolve(id.unit, of_type)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use object::{Object, ObjectSymbol, SymbolKind};

    use super::*;
    use crate::diagnose::image::made_up;

    #[test]
    fn ranges_are_read_up_to_a_limit() {
        let contents = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let object = object::File::parse(&*contents).unwrap();
        let functions = object.symbols().filter(|symbol| {
            let is_here = symbol.name().is_ok_and(|name| name.contains("7futures6scopes"));
            symbol.kind() == SymbolKind::Text && is_here
        });
        let addresses: Vec<_> = functions.map(|function| function.address()).collect();
        let file = made_up::read(contents, "", &[], 0).unwrap();
        let mut types = Types::new(file.debug_info.unwrap());
        let before = types.ranges_left;
        let known = addresses.into_iter().find(|address| at(&mut types, *address).is_some());
        let address = known.expect("a function that the debug information describes");
        assert!(types.ranges_left < before);
        types.ranges_left = 0;
        assert!(at(&mut types, address).is_none());
    }
}
