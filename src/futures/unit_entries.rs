//! Where the entries of one unit of debug information are that the reader of
//! futures needs. A unit is read once.

use std::collections::HashMap;

use gimli::{AttributeValue, EntriesRaw, Reader, constants};

use crate::diagnose::image::{Bytes, OpenUnit};

/// The limits of what is kept of one unit.
const MAX_NAMESPACES: usize = 1 << 18;
const MAX_FUNCTIONS: usize = 1 << 20;
const MAX_CELLS: usize = 1 << 16;
const MAX_TYPES: usize = 1 << 20;
const MAX_VTABLES: usize = 1 << 18;
/// A path has at most this many parts.
const MAX_DEPTH: usize = 64;
/// A longer name of a namespace is cut.
const MAX_NAMESPACE_BYTES: usize = 1024;
/// The first bytes of a name say whether it is that of a function or a cell.
const MAX_PREFIX_BYTES: usize = 8;

/// The module that defines the functions that poll tasks.
const POLL_MODULE: [&str; 4] = ["tokio", "runtime", "task", "raw"];
/// The module that defines the memory of a task.
const CELL_MODULE: [&str; 4] = ["tokio", "runtime", "task", "core"];

/// What is kept of a unit.
#[derive(Debug, Default)]
pub(super) struct UnitEntries {
    /// Sorted by `begin`.
    namespaces: Vec<Namespace>,
    /// The first address of each function and its entry, sorted.
    functions: Vec<(u64, usize)>,
    /// The types `tokio::runtime::task::core::Cell`: the places of their names
    /// and their entries.
    pub(super) cells: Vec<(u32, usize)>,
    /// The functions that poll tasks, also those that the linker removed.
    pub(super) polls: Vec<usize>,
    /// The entries of the functions that poll async functions and blocks.
    pub(super) coroutines: Vec<usize>,
    /// The types that the unit describes whole: the place of the name in the
    /// section of names, and the entry. Sorted.
    types: Vec<(u32, u32)>,
    /// The address of each table of a trait object's functions, and the entry
    /// of the table's type. `None` if an address has several.
    pub(super) vtables: HashMap<u64, Option<AttributeValue<Bytes>>>,
}

#[derive(Debug)]
struct Namespace {
    begin: usize,
    end: usize,
    parent: Option<usize>,
    name: String,
}

impl UnitEntries {
    /// Reads the unit. What follows broken entries is left out.
    pub(super) fn read(unit: &OpenUnit) -> Self {
        let mut entries = Self::default();
        let _ = entries.add(unit);
        let end = usize::MAX;
        for namespace in entries.namespaces.iter_mut().filter(|namespace| namespace.end == 0) {
            namespace.end = end;
        }
        entries.functions.sort_unstable();
        entries.types.sort_unstable();
        entries.types.shrink_to_fit();
        entries
    }

    /// Returns about how much memory this takes.
    pub(super) fn kept_bytes(&self) -> usize {
        let names: usize = self.namespaces.iter().map(|namespace| namespace.name.len()).sum();
        names
            + size_of::<Namespace>() * self.namespaces.len()
            + size_of::<(u64, usize)>() * (self.functions.len() + self.cells.len() + self.polls.len())
            + size_of::<usize>() * self.coroutines.len()
            + size_of::<(u32, u32)>() * self.types.len()
            + 2 * size_of::<(u64, Option<AttributeValue<Bytes>>)>() * self.vtables.len()
    }

    fn add(&mut self, unit: &OpenUnit) -> gimli::Result<()> {
        let mut entries = unit.entries().entries_raw(None)?;
        // The namespaces around the entry: their depths and places.
        let mut around = Vec::<(isize, usize)>::new();
        while !entries.is_empty() {
            let (offset, depth) = (entries.next_offset().0, entries.next_depth());
            while let Some((_, place)) = around.last().copied().filter(|(of, _)| *of >= depth) {
                self.namespaces[place].end = offset;
                around.pop();
            }
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let specifications = abbreviation.attributes();
            match abbreviation.tag() {
                constants::DW_TAG_namespace if around.len() < MAX_DEPTH => {
                    let name = read_one(&mut entries, specifications, constants::DW_AT_name)?;
                    if self.namespaces.len() < MAX_NAMESPACES {
                        let name = name.and_then(|name| unit.text(name, MAX_NAMESPACE_BYTES));
                        let parent = around.last().map(|(_, place)| *place);
                        around.push((depth, self.namespaces.len()));
                        let name = name.unwrap_or_default();
                        self.namespaces.push(Namespace { begin: offset, end: 0, parent, name });
                    }
                }
                constants::DW_TAG_subprogram => {
                    let wanted = [constants::DW_AT_low_pc, constants::DW_AT_name];
                    let [low, name] = read_some(&mut entries, specifications, wanted)?;
                    self.add_coroutine(unit, offset, name.as_ref());
                    let Some(low) = low else { continue };
                    if self.is_in(&POLL_MODULE, &around)
                        && let Some(name) = name.and_then(|name| unit.text(name, MAX_PREFIX_BYTES))
                        && name.starts_with("poll<")
                        && self.polls.len() < MAX_CELLS
                    {
                        self.polls.push(offset);
                    }
                    if let Some(address) = unit.entries().attr_address(low)?.filter(|low| *low > 0)
                        && self.functions.len() < MAX_FUNCTIONS
                    {
                        self.functions.push((address, offset));
                    }
                }
                constants::DW_TAG_structure_type | constants::DW_TAG_union_type => {
                    let Some(name) = read_name_of_type(&mut entries, specifications)? else { continue };
                    let Some(place) = name_offset(unit, &name) else { continue };
                    if self.is_in(&CELL_MODULE, &around) && self.cells.len() < MAX_CELLS {
                        let text = unit.text(name, MAX_PREFIX_BYTES);
                        let is_cell = text.is_some_and(|text| text.starts_with("Cell<"));
                        self.cells.extend(is_cell.then_some((place, offset)));
                    }
                    if let Ok(offset) = u32::try_from(offset)
                        && self.types.len() < MAX_TYPES
                    {
                        self.types.push((place, offset));
                    }
                }
                constants::DW_TAG_variable if depth == 1 => {
                    self.add_vtable(unit, &mut entries, specifications)?
                }
                _ => entries.skip_attributes(specifications)?,
            }
        }
        Ok(())
    }

    fn is_in(&self, module: &[&str], around: &[(isize, usize)]) -> bool {
        let name = |(_, place): &(isize, usize)| self.namespaces[*place].name.as_str();
        around.len() == module.len() && around.iter().map(name).eq(module.iter().copied())
    }

    fn add_coroutine(&mut self, unit: &OpenUnit, entry: usize, name: Option<&AttributeValue<Bytes>>) {
        let text = name.and_then(|name| unit.text(name.clone(), MAX_PREFIX_BYTES));
        let is_coroutine = text.is_some_and(|text| text.starts_with("{async_"));
        if is_coroutine && self.coroutines.len() < MAX_CELLS {
            self.coroutines.push(entry);
        }
    }

    fn add_vtable(
        &mut self,
        unit: &OpenUnit,
        entries: &mut EntriesRaw<'_, Bytes>,
        specifications: &[gimli::AttributeSpecification],
    ) -> gimli::Result<()> {
        let (mut address, mut of_type) = (None, None);
        for specification in specifications {
            let attribute = entries.read_attribute(*specification)?;
            match (attribute.name(), attribute.value()) {
                (constants::DW_AT_location, AttributeValue::Exprloc(expression)) => {
                    address = address_of(unit, expression.0).unwrap_or_default();
                }
                (constants::DW_AT_type, value) => of_type = Some(value),
                _ => {}
            }
        }
        if let (Some(address), Some(of_type)) = (address, of_type)
            && self.vtables.len() < MAX_VTABLES
        {
            self.vtables.entry(address).and_modify(|other| *other = None).or_insert(Some(of_type));
        }
        Ok(())
    }

    /// Returns the entries of the functions that begin at an address.
    pub(super) fn functions_at(&self, address: u64) -> impl Iterator<Item = usize> {
        let first = self.functions.partition_point(|(begin, _)| *begin < address);
        let here = self.functions[first..].iter().take_while(move |(begin, _)| *begin == address);
        here.map(|(_, entry)| *entry)
    }

    /// Returns the entries of the functions that begin at an address or before
    /// it, the nearest first.
    pub(super) fn functions_up_to(&self, address: u64) -> impl Iterator<Item = usize> {
        let after = self.functions.partition_point(|(begin, _)| *begin <= address);
        self.functions[..after].iter().rev().map(|(_, entry)| *entry)
    }

    /// Returns the entries of the types whose name is at a place in the section
    /// of names.
    pub(super) fn types_named(&self, name: u32) -> impl Iterator<Item = usize> {
        let first = self.types.partition_point(|(of, _)| *of < name);
        let here = self.types[first..].iter().take_while(move |(of, _)| *of == name);
        here.map(|(_, entry)| *entry as usize)
    }

    /// Returns the path of the module around an entry, such as `app::session`.
    pub(super) fn module_of(&self, entry: usize) -> String {
        let after = self.namespaces.partition_point(|namespace| namespace.begin <= entry);
        let mut place = after.checked_sub(1);
        // The last one that begins before the entry may have ended.
        while let Some(namespace) = place.and_then(|place| self.namespaces.get(place)) {
            if namespace.end > entry {
                break;
            }
            place = namespace.parent;
        }
        let mut parts = Vec::new();
        while let Some(namespace) = place.and_then(|place| self.namespaces.get(place)) {
            parts.push(namespace.name.as_str());
            place = namespace.parent;
        }
        parts.reverse();
        parts.join("::")
    }
}

/// Returns the address that an expression is. In a file that is apart from the
/// program, it is the index of one.
fn address_of(unit: &OpenUnit, mut expression: Bytes) -> gimli::Result<Option<u64>> {
    let address = match constants::DwOp(expression.read_u8()?) {
        constants::DW_OP_addr => Some(expression.read_u64()?),
        constants::DW_OP_addrx | constants::DW_OP_GNU_addr_index => {
            let index = usize::try_from(expression.read_uleb128()?).unwrap_or(usize::MAX);
            Some(unit.entries().address(gimli::DebugAddrIndex(index))?)
        }
        _ => None,
    };
    // A longer one is not the address of a constant.
    Ok(address.filter(|_| expression.is_empty()))
}

/// Returns the place of a name in the section of names. Equal names have one
/// place there.
pub(super) fn name_offset(unit: &OpenUnit, name: &AttributeValue<Bytes>) -> Option<u32> {
    let offset = match name {
        AttributeValue::DebugStrRef(offset) => offset.0,
        AttributeValue::DebugStrOffsetsIndex(index) => unit.entries().string_offset(*index).ok()?.0,
        _ => return None,
    };
    u32::try_from(offset).ok()
}

/// Reads the attributes of a type's entry and returns its name; `None` if the
/// entry only declares it.
fn read_name_of_type(
    entries: &mut EntriesRaw<'_, Bytes>,
    specifications: &[gimli::AttributeSpecification],
) -> gimli::Result<Option<AttributeValue<Bytes>>> {
    let is_declaration = specifications.iter().any(|one| one.name() == constants::DW_AT_declaration);
    let name = read_one(entries, specifications, constants::DW_AT_name)?;
    Ok(name.filter(|_| !is_declaration))
}

/// Reads the attributes of an entry and returns one of them.
fn read_one(
    entries: &mut EntriesRaw<'_, Bytes>,
    specifications: &[gimli::AttributeSpecification],
    name: gimli::DwAt,
) -> gimli::Result<Option<AttributeValue<Bytes>>> {
    let [value] = read_some(entries, specifications, [name])?;
    Ok(value)
}

/// Reads the attributes of an entry and returns some of them.
fn read_some<const N: usize>(
    entries: &mut EntriesRaw<'_, Bytes>,
    specifications: &[gimli::AttributeSpecification],
    names: [gimli::DwAt; N],
) -> gimli::Result<[Option<AttributeValue<Bytes>>; N]> {
    let mut found = [const { None }; N];
    for specification in specifications {
        match names.iter().position(|name| *name == specification.name()) {
            Some(at) => found[at] = Some(entries.read_attribute(*specification)?.value()),
            None => entries.skip_attributes(std::slice::from_ref(specification))?,
        }
    }
    Ok(found)
}
