//! The types of a program, read from its debug information as they are needed.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use gimli::{UnitOffset, constants};

use crate::diagnose::image::{DebugInfo, OpenUnit};
use crate::futures::layout::{EntryId, Layout, MAX_NAME_BYTES, Reference};
use crate::futures::type_name;
use crate::futures::unit_entries::UnitEntries;
use crate::source_path;

/// The number of types that are remembered.
const MAX_TYPES: usize = 1 << 16;
const MAX_FILES: usize = 1 << 14;
/// All units together are searched for a type only up to this size.
const MAX_SEARCHED_BYTES: u64 = 1 << 30;
/// What is kept of the units and of the layouts takes at most about this much
/// memory. Small entries may all have one long name.
const MAX_KEPT_BYTES: usize = 1 << 29;
/// The number of layouts that are read, and of those that are compared. They
/// bound the time: 2,000 kinds of tasks need a million and ten million.
const MAX_LAYOUTS_READ: usize = 1 << 22;
const MAX_COMPARED: usize = 1 << 26;
/// The number of ranges of code that are read. They bound the time, because
/// entries may share one list. Ten thousand functions with ten thousand ranges
/// in each have a hundred million.
const MAX_RANGES_READ: usize = 1 << 28;
/// An entry names its function through at most this many other entries.
const MAX_NAME_STEPS: usize = 16;

/// An await: the path of the async function's type, and that of what it awaits.
type MacroAwait = (String, String);

/// The types of one program or library.
#[derive(Debug)]
pub(super) struct Types {
    pub(super) info: DebugInfo,
    /// The lines of awaits in macros that were asked for.
    pub(super) macro_lines: HashMap<MacroAwait, Option<u32>>,
    entries: HashMap<usize, Rc<UnitEntries>>,
    types: HashMap<EntryId, Option<Rc<Type>>>,
    files: HashMap<(usize, u64), Option<Rc<str>>>,
    has_searched_all: bool,
    searched_bytes: u64,
    /// What `entries` takes, and what `types` takes, about.
    entries_bytes: usize,
    types_bytes: usize,
    layouts_left: usize,
    comparisons_left: usize,
    pub(super) ranges_left: usize,
    /// How many more async functions are compared with one that is sought.
    pub(super) coroutines_left: usize,
    /// The layouts of tasks for which no poll function is known; `None` until
    /// they are needed.
    unpolled_cells: Option<Vec<Rc<Type>>>,
}

/// A type with its place.
#[derive(Debug)]
pub(super) struct Type {
    pub(super) unit: usize,
    /// With its module: `app::session::{async_fn_env#0}`.
    pub(super) path: String,
    pub(super) layout: Layout,
    /// The name of the async function whose state it is, once it was needed.
    pub(super) function: OnceCell<Rc<FunctionName>>,
}

/// The name of an async function.
#[derive(Debug)]
pub(super) struct FunctionName {
    pub(super) name: String,
    /// The path of the `impl` around it, and the type that this is for.
    pub(super) implementation: Option<(String, String)>,
}

/// The function that polls one kind of task.
#[derive(Debug, Clone, Default)]
pub(super) struct PollFunction {
    unit: usize,
    /// As in the debug information: `poll<app::session::{async_fn_env#0}, …>`.
    pub(super) name: Option<String>,
    pub(super) linkage_name: Option<String>,
    future: Option<EntryId>,
}

impl Types {
    pub(super) fn new(info: DebugInfo) -> Self {
        Self {
            info,
            macro_lines: HashMap::new(),
            entries: HashMap::new(),
            types: HashMap::new(),
            files: HashMap::new(),
            has_searched_all: false,
            searched_bytes: 0,
            entries_bytes: 0,
            types_bytes: 0,
            layouts_left: MAX_LAYOUTS_READ,
            comparisons_left: MAX_COMPARED,
            ranges_left: MAX_RANGES_READ,
            coroutines_left: MAX_COMPARED,
            unpolled_cells: None,
        }
    }

    /// Returns the offsets of the units that may describe an address in the
    /// file.
    pub(super) fn units_at(&self, address: u64) -> Vec<usize> {
        self.info.units_at(address)
    }

    pub(super) fn unit(&mut self, unit: usize) -> Option<Rc<OpenUnit>> {
        self.info.unit(unit)
    }

    pub(super) fn entries(&mut self, unit: usize) -> Option<Rc<UnitEntries>> {
        if let Some(entries) = self.entries.get(&unit) {
            return Some(Rc::clone(entries));
        }
        let bytes = self.info.unit_bytes(unit);
        if self.searched_bytes.saturating_add(bytes) > MAX_SEARCHED_BYTES
            || self.entries_bytes > MAX_KEPT_BYTES
        {
            return None;
        }
        self.searched_bytes += bytes;
        let entries = Rc::new(UnitEntries::read(&*self.info.unit(unit)?));
        self.entries_bytes = self.entries_bytes.saturating_add(entries.kept_bytes());
        self.entries.insert(unit, Rc::clone(&entries));
        Some(entries)
    }

    /// Returns the entry that a reference of a unit leads to.
    pub(super) fn resolve(&self, unit: usize, reference: Reference) -> Option<EntryId> {
        match reference {
            Reference::InUnit(entry) => Some(EntryId { unit, entry }),
            Reference::InFile(offset) => {
                let unit = self.info.unit_around(offset)?;
                Some(EntryId { unit, entry: offset.checked_sub(unit)? })
            }
        }
    }

    /// Returns the type at an entry.
    pub(super) fn at(&mut self, id: EntryId) -> Option<Rc<Type>> {
        if let Some(known) = self.types.get(&id) {
            return known.clone();
        }
        if self.types.len() >= MAX_TYPES || self.types_bytes > MAX_KEPT_BYTES {
            self.types.clear();
            self.types_bytes = 0;
        }
        let read = self.read(id).map(Rc::new);
        let read = read.map(|declared| match declared.layout.declared_name {
            Some(name) => self.defined(&declared, name).unwrap_or(declared),
            None => declared,
        });
        let kept_bytes = read.as_ref().map_or(0, |read| read.layout.kept_bytes() + read.path.len());
        self.types_bytes = self.types_bytes.saturating_add(kept_bytes);
        self.types.insert(id, read.clone());
        read
    }

    /// Returns the type that another unit describes whole. If several units
    /// describe different types of the same name, none is returned.
    fn defined(&mut self, declared: &Type, name: u32) -> Option<Rc<Type>> {
        let units = self.all_units();
        let module = declared.path.strip_suffix(declared.layout.name.as_str())?;
        let module = module.strip_suffix("::").unwrap_or(module);
        let mut found = None::<Rc<Type>>;
        for unit in units {
            let entries = self.entries(unit)?;
            for entry in entries.types_named(name) {
                // Every async function has a type of the same name.
                if entries.module_of(entry) != module {
                    continue;
                }
                let Some(same) = self.read(EntryId { unit, entry }) else { continue };
                // In another file, the same place is that of another name.
                if same.layout.name != declared.layout.name {
                    continue;
                }
                match &found {
                    None => found = Some(Rc::new(same)),
                    Some(other) if other.layout.is_like(&same.layout) => {}
                    Some(_) => return None,
                }
            }
        }
        found
    }

    fn read(&mut self, id: EntryId) -> Option<Type> {
        self.layouts_left = self.layouts_left.checked_sub(1)?;
        let layout = Layout::read(&*self.info.unit(id.unit)?, id.entry)?;
        let module = self.entries(id.unit)?.module_of(id.entry);
        let path = if module.is_empty() { layout.name.clone() } else { format!("{module}::{}", layout.name) };
        Some(Type { unit: id.unit, path, layout, function: OnceCell::new() })
    }

    /// Returns the type that an entry of a type refers to.
    pub(super) fn follow(&mut self, from: &Type, reference: Reference) -> Option<Rc<Type>> {
        let id = self.resolve(from.unit, reference)?;
        self.at(id)
    }

    /// Returns the path of a source file by its number in a unit, as
    /// loopscope shows it.
    pub(super) fn file(&mut self, unit: usize, number: u64) -> Option<Rc<str>> {
        if let Some(file) = self.files.get(&(unit, number)) {
            return file.clone();
        }
        if self.files.len() >= MAX_FILES {
            self.files.clear();
        }
        let file = self.info.unit(unit).and_then(|unit| unit.file(number));
        let file = file.map(|file| Rc::from(type_name::printable(&source_path::shorten(&file))));
        self.files.insert((unit, number), file.clone());
        file
    }

    /// Returns the functions that begin at an address in the file. The linker
    /// may have merged several.
    pub(super) fn poll_functions(&mut self, address: u64) -> Vec<PollFunction> {
        let mut functions = Vec::new();
        let mut units = self.info.units_at(address);
        units.sort_unstable();
        units.dedup();
        for unit in units {
            let Some(entries) = self.entries(unit) else { continue };
            for entry in entries.functions_at(address) {
                functions.extend(self.poll_function(unit, entry));
            }
        }
        functions
    }

    fn poll_function(&mut self, unit: usize, entry: usize) -> Option<PollFunction> {
        let mut function = PollFunction { unit, ..PollFunction::default() };
        let mut next = Some(EntryId { unit, entry });
        for _ in 0..MAX_NAME_STEPS {
            let Some(id) = next.take() else { break };
            let open = self.info.unit(id.unit)?;
            let origin =
                read_function(&open, id, &mut function, |reference| self.resolve(id.unit, reference));
            next = origin.ok()?;
        }
        Some(function)
    }

    /// Returns the type of the memory of a task that a function polls.
    pub(super) fn cell(&mut self, poll: &PollFunction) -> Option<Rc<Type>> {
        if let Some(cell) = self.cell_in(poll.unit, poll) {
            return Some(cell);
        }
        // An optimisation of the whole program has each type only once.
        let units = self.all_units();
        let mut found = None::<Rc<Type>>;
        for unit in units {
            let Some(cell) = self.cell_in(unit, poll) else { continue };
            let is_same = |found: &Rc<Type>| found.layout.is_like(&cell.layout);
            if !found.as_ref().is_none_or(is_same) {
                return None;
            }
            found = Some(cell);
        }
        found
    }

    /// Returns the names of other futures whose tasks have the same layout as
    /// those of a function, and that have no poll function. The compiler may
    /// have merged theirs with the given one and left no trace of it.
    pub(super) fn twins(&mut self, poll: &PollFunction, cell: &Type) -> Vec<String> {
        self.search_all();
        if self.unpolled_cells.is_none() {
            self.unpolled_cells = Some(self.find_unpolled_cells());
        }
        let scheduler = |name: &str| type_name::arguments(name).last().map(|last| (*last).to_owned());
        let own = scheduler(poll.name.as_deref().unwrap_or_default());
        let is_twin =
            |other: &&Rc<Type>| other.layout.is_like(&cell.layout) && scheduler(&other.layout.name) == own;
        let twins = self.unpolled_cells.iter().flatten().filter(is_twin);
        twins
            .filter_map(|twin| Some(type_name::readable(type_name::arguments(&twin.layout.name).first()?)))
            .collect()
    }

    fn find_unpolled_cells(&mut self) -> Vec<Rc<Type>> {
        let mut units: Vec<_> = self.entries.keys().copied().collect();
        units.sort_unstable();
        let mut polled = HashSet::new();
        for unit in &units {
            let Some(entries) = self.entries(*unit) else { continue };
            for entry in &entries.polls {
                let name = self.poll_function(*unit, *entry).and_then(|function| function.name);
                polled.extend(name.and_then(|name| Some(name.strip_prefix("poll")?.to_owned())));
            }
        }
        let mut places = HashSet::new();
        let mut unpolled = Vec::new();
        let mut bytes_left = MAX_KEPT_BYTES;
        for unit in units {
            let Some(entries) = self.entries(unit) else { continue };
            for (place, entry) in &entries.cells {
                if !places.insert(*place) {
                    continue;
                }
                let Some(cell) = self.at(EntryId { unit, entry: *entry }) else { continue };
                let name = cell.layout.name.strip_prefix("Cell").unwrap_or_default();
                if !polled.contains(name) {
                    let Some(left) = bytes_left.checked_sub(cell.layout.kept_bytes()) else {
                        return unpolled;
                    };
                    bytes_left = left;
                    unpolled.push(cell);
                }
            }
        }
        unpolled
    }

    fn cell_in(&mut self, unit: usize, poll: &PollFunction) -> Option<Rc<Type>> {
        let entries = self.entries(unit)?;
        let wanted = poll.name.as_deref()?.strip_prefix("poll")?;
        for (_, entry) in &entries.cells {
            self.comparisons_left = self.comparisons_left.checked_sub(1)?;
            let Some(cell) = self.at(EntryId { unit, entry: *entry }) else { continue };
            // Some units have a declaration only.
            if cell.layout.member("core").is_none() {
                continue;
            }
            let future = cell.layout.parameter("T").and_then(|of_type| self.resolve(unit, of_type));
            let is_same_future = match (future, poll.future) {
                (Some(one), Some(other)) if unit == poll.unit => one == other,
                _ => true,
            };
            if is_same_future && cell.layout.name.strip_prefix("Cell") == Some(wanted) {
                return Some(cell);
            }
        }
        None
    }

    /// Returns the type whose table of a trait's functions is at an address in
    /// the file.
    pub(super) fn of_vtable(&mut self, address: u64) -> Option<Rc<Type>> {
        let mut found = self.vtable_in_known_units(address);
        if found.is_empty() && !self.has_searched_all {
            self.search_all();
            found = self.vtable_in_known_units(address);
        }
        let [id] = found[..] else { return None };
        let table = self.at(id)?;
        let of_type = table.layout.containing_type?;
        self.follow(&table, of_type)
    }

    fn vtable_in_known_units(&self, address: u64) -> Vec<EntryId> {
        let mut found = Vec::new();
        for (unit, entries) in &self.entries {
            let Some(value) = entries.vtables.get(&address) else { continue };
            let reference = value.as_ref().and_then(Reference::from_value);
            match reference.and_then(|reference| self.resolve(*unit, reference)) {
                Some(id) => found.push(id),
                None => return Vec::new(),
            }
        }
        found
    }

    /// Reads the places of the entries of all units. Returns the units.
    pub(super) fn all_units(&mut self) -> Vec<usize> {
        self.search_all();
        let mut units: Vec<_> = self.entries.keys().copied().collect();
        units.sort_unstable();
        units
    }

    /// Returns the addresses of all tables of trait objects.
    #[cfg(test)]
    pub(super) fn vtable_addresses(&mut self) -> Vec<u64> {
        self.search_all();
        let mut addresses: Vec<_> =
            self.entries.values().flat_map(|entries| entries.vtables.keys().copied()).collect();
        addresses.sort_unstable();
        addresses
    }

    fn search_all(&mut self) {
        if std::mem::replace(&mut self.has_searched_all, true) {
            return;
        }
        for unit in self.info.units().to_vec() {
            if self.entries(unit).is_none() && self.searched_bytes >= MAX_SEARCHED_BYTES {
                return;
            }
        }
    }
}

/// Adds to a function what an entry says of it. Returns the entry that says
/// more.
fn read_function(
    unit: &OpenUnit,
    id: EntryId,
    function: &mut PollFunction,
    resolve: impl Fn(Reference) -> Option<EntryId>,
) -> gimli::Result<Option<EntryId>> {
    let mut entries = unit.entries().entries_raw(Some(UnitOffset(id.entry)))?;
    let own_depth = entries.next_depth();
    let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(None) };
    let mut origin = None;
    for specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(*specification)?;
        let value = attribute.value();
        match attribute.name() {
            constants::DW_AT_name if function.name.is_none() => {
                function.name = unit.text(value, MAX_NAME_BYTES);
            }
            constants::DW_AT_linkage_name | constants::DW_AT_MIPS_linkage_name
                if function.linkage_name.is_none() =>
            {
                function.linkage_name = unit.text(value, MAX_NAME_BYTES);
            }
            constants::DW_AT_abstract_origin | constants::DW_AT_specification => {
                origin = Reference::from_value(&value).and_then(&resolve);
            }
            _ => {}
        }
    }
    while abbreviation.has_children() && !entries.is_empty() && entries.next_depth() > own_depth {
        let is_own = entries.next_depth() == own_depth + 1;
        let Some(child) = entries.read_abbreviation()? else { continue };
        if !is_own || child.tag() != constants::DW_TAG_template_type_parameter {
            entries.skip_attributes(child.attributes())?;
            continue;
        }
        let (mut is_future, mut of_type) = (false, None);
        for specification in child.attributes() {
            let attribute = entries.read_attribute(*specification)?;
            match attribute.name() {
                constants::DW_AT_name => {
                    is_future = unit.text(attribute.value(), 2).is_some_and(|name| name == "T");
                }
                constants::DW_AT_type => of_type = Reference::from_value(&attribute.value()),
                _ => {}
            }
        }
        if is_future && function.future.is_none() {
            function.future = of_type.and_then(&resolve);
        }
    }
    Ok(origin)
}

impl PollFunction {
    /// Returns the name of the future that it polls.
    pub(super) fn future_name(&self) -> Option<String> {
        let name = self.name.as_deref().filter(|name| name.starts_with("poll<"))?;
        type_name::arguments(name).first().map(|name| type_name::readable(name))
    }

    /// Returns whether its type is known.
    pub(super) fn has_type(&self) -> bool {
        self.future.is_some()
    }
}
