//! The debug information of a program or library that stays open, for a reader
//! of types.

use std::collections::HashMap;
use std::rc::Rc;

use gimli::{AttributeValue, DebugInfoOffset, Dwarf, Reader, Unit, UnitRef};

use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::elf::Elf;
use crate::diagnose::image::lines;
use crate::diagnose::image::missing::MissingLines;
use crate::diagnose::image::sections::{dwarf_with_places, lines_source};
use crate::diagnose::image::split::{self, SplitUnits};
use crate::diagnose::image::symbol_table;
use crate::diagnose::image::unit_tables;
use crate::diagnose::image::units::{self, UnitIndex};
use crate::evidence::CodeFile;

/// The number of units that stay open, and the size of their tables, which take
/// some ten times as much memory. The tables of one have 100 KB at most in our
/// own programs.
const MAX_OPEN_UNITS: usize = 64;
const MAX_OPEN_BYTES: usize = 16 << 20;

/// Debug information in which types can be followed.
#[derive(Debug)]
pub(crate) struct DebugInfo {
    dwarf: Rc<Dwarf<Bytes>>,
    index: UnitIndex,
    split: SplitUnits,
    /// By the offset of the unit in the program's file. `None` for one that
    /// cannot be read.
    open: HashMap<usize, Option<Rc<OpenUnit>>>,
    /// How many bytes of tables the open units have.
    open_bytes: usize,
    /// A unit may be opened again and again.
    table_bytes_left: usize,
}

/// A unit with the sections that its entries refer to.
#[derive(Debug)]
pub(crate) struct OpenUnit {
    dwarf: Rc<Dwarf<Bytes>>,
    unit: Unit<Bytes>,
    /// The part with the names of files, if the entries are in another file.
    skeleton: Option<(Rc<Dwarf<Bytes>>, Unit<Bytes>)>,
}

impl OpenUnit {
    pub(crate) fn entries(&self) -> UnitRef<'_, Bytes> {
        self.unit.unit_ref(&self.dwarf)
    }

    /// Returns the path of a file by its number in the unit.
    pub(crate) fn file(&self, number: u64) -> Option<String> {
        let unit = match &self.skeleton {
            Some((dwarf, unit)) => unit.unit_ref(dwarf),
            None => self.entries(),
        };
        lines::file(unit, number).ok().flatten()
    }

    /// Returns at most `max_bytes` of a text.
    pub(crate) fn text(&self, value: AttributeValue<Bytes>, max_bytes: usize) -> Option<String> {
        let mut text = self.entries().attr_string(value).ok()?;
        let length = text.len().min(max_bytes);
        text.truncate(length).ok()?;
        Some(text.to_string_lossy().ok()?.into_owned())
    }
}

impl DebugInfo {
    /// Opens the debug information of a file that is open.
    pub(super) fn open(elf: &Elf, file: &CodeFile, max_memory: u64) -> Result<Self, MissingLines> {
        let debug_file = split::debug_file(elf, file);
        let source = debug_file.as_ref().unwrap_or(elf);
        lines_source(source, &file.path)?;
        let dwarf = Rc::new(dwarf_with_places(source, max_memory)?);
        let index = UnitIndex::read(&dwarf);
        let split = SplitUnits::new(file, max_memory);
        let table_bytes_left = unit_tables::MAX_BYTES_READ;
        Ok(Self { dwarf, index, split, open: HashMap::new(), open_bytes: 0, table_bytes_left })
    }

    /// Returns the offsets of the units that may describe an address of code.
    pub(crate) fn units_at(&self, address: u64) -> Vec<usize> {
        self.index.units_at(address).collect()
    }

    /// Returns the offsets of all units.
    pub(crate) fn units(&self) -> &[usize] {
        self.index.offsets()
    }

    /// Returns the unit that contains an offset in `.debug_info`.
    pub(crate) fn unit_around(&self, offset: usize) -> Option<usize> {
        self.index.offset_around(offset)
    }

    /// Opens the unit at an offset.
    pub(crate) fn unit(&mut self, offset: usize) -> Option<Rc<OpenUnit>> {
        if let Some(unit) = self.open.get(&offset) {
            return unit.clone();
        }
        if self.open.len() >= MAX_OPEN_UNITS || self.open_bytes > MAX_OPEN_BYTES {
            self.open.clear();
            self.open_bytes = 0;
        }
        let left = self.table_bytes_left;
        let unit = self.read(offset).map(Rc::new);
        self.open_bytes += left.saturating_sub(self.table_bytes_left);
        self.open.insert(offset, unit.clone());
        unit
    }

    fn read(&mut self, offset: usize) -> Option<OpenUnit> {
        let left = &mut self.table_bytes_left;
        let unit = units::read_unit(&self.dwarf, offset, left).ok()?;
        if unit.dwo_id.is_none() {
            return Some(OpenUnit { dwarf: Rc::clone(&self.dwarf), unit, skeleton: None });
        }
        let (split, entries) = self.split.unit(&self.dwarf, &unit, left).ok()?;
        let skeleton = Some((Rc::clone(&self.dwarf), unit));
        Some(OpenUnit { dwarf: Rc::new(split), unit: entries, skeleton })
    }

    /// Returns the number of bytes of all units.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.units().iter().map(|unit| self.unit_bytes(*unit)).sum()
    }

    /// Returns the number of bytes of a unit.
    pub(crate) fn unit_bytes(&self, offset: usize) -> u64 {
        let header = self.dwarf.unit_header(DebugInfoOffset(offset));
        header.map_or(0, |header| header.length_including_self() as u64)
    }
}

/// Returns the functions whose names contain a text, with the addresses in the
/// file; at most `max_symbols`.
pub(super) fn functions_with(
    elf: &Elf,
    file: &CodeFile,
    text: &str,
    max_symbols: usize,
) -> Result<Vec<(u64, String)>, MissingLines> {
    let debug_file = split::debug_file(elf, file);
    let debug = debug_file.as_ref().unwrap_or(elf);
    let tables: [(&Elf, _, _); 3] =
        [(debug, ".symtab", ".strtab"), (elf, ".symtab", ".strtab"), (elf, ".dynsym", ".dynstr")];
    let Some((elf, table, strings)) = tables.into_iter().find(|(elf, table, _)| elf.has_section(table))
    else {
        return Ok(Vec::new());
    };
    let mut memory_left = 0;
    let (table, strings) = (elf.bytes_of(table, &mut memory_left)?, elf.bytes_of(strings, &mut memory_left)?);
    Ok(symbol_table::functions_with(&table, &strings, text, max_symbols).unwrap_or_default())
}
