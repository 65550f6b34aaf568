//! The file of a program or library: functions, lines, and the directories
//! where it was compiled.
//!
//! Only what an address needs is read. Between two look-ups only the index of
//! the units stays in memory.

mod budget;
mod bytes;
mod compressed;
#[cfg(feature = "attach")]
mod debug_info;
mod elf;
mod functions;
#[cfg_attr(not(feature = "attach"), allow(dead_code))]
pub(crate) mod given_files;
mod lines;
#[cfg(all(test, feature = "attach"))]
pub(crate) mod made_up;
#[cfg(test)]
mod made_up_units;
mod missing;
mod paged_file;
mod ranges;
mod sections;
mod sought;
mod split;
mod symbol_table;
mod unit_tables;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gimli::{Dwarf, Unit};

use crate::diagnose::compile_unit::CompileUnit;
use crate::diagnose::image::budget::Budget;
pub(crate) use crate::diagnose::image::bytes::Bytes;
#[cfg(feature = "attach")]
pub(crate) use crate::diagnose::image::debug_info::{DebugInfo, OpenUnit};
use crate::diagnose::image::elf::Elf;
use crate::diagnose::image::functions::{KnownEntries, LookUp};
pub(crate) use crate::diagnose::image::missing::MissingLines;
#[cfg(feature = "attach")]
pub(crate) use crate::diagnose::image::ranges::ranges_of;
use crate::diagnose::image::sections::{dwarf, lines_source};
use crate::diagnose::image::split::SplitUnits;
pub(super) use crate::diagnose::image::split::is_of_system;
use crate::diagnose::image::symbol_table::Symbol;
use crate::diagnose::image::units::UnitIndex;
use crate::evidence::CodeFile;
use crate::process::Process;

/// The number of functions of the symbol table that are remembered.
const MAX_KNOWN_SYMBOLS: usize = 1024;

/// A function, or an inlined call of one, at an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ImageFrame {
    /// As the compiler wrote it, possibly mangled.
    pub(super) function: Option<String>,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
}

/// What a file says of an address.
#[derive(Debug, Clone, Default)]
pub(super) struct AddressInfo {
    /// Innermost first. Empty without debug information.
    pub(super) frames: Vec<ImageFrame>,
    /// The names of the function in the symbol table. The linker may have
    /// merged several functions into one.
    pub(super) symbols: Vec<String>,
    /// Why the address has no line, if that is known.
    pub(super) missing: Option<MissingLines>,
}

/// A program or library.
#[derive(Debug, Default)]
pub(crate) struct Image {
    /// The process whose program this is; `None` for a library.
    program_of: Option<Process>,
    /// The open file of the program. It stays open, because there may be no
    /// free descriptor when it is needed.
    program: Option<Arc<File>>,
    /// Read when first needed.
    index: Option<UnitIndex>,
    /// Functions that were looked up before, so that the tables need not be
    /// read again for another address in them.
    known_symbols: Vec<Symbol>,
    known_entries: KnownEntries,
    budget: Budget,
}

impl Image {
    /// Returns the image of the program that a process runs.
    pub(crate) fn of_program(process: Process) -> Self {
        let program = open_program_of(process).ok();
        Self { program: program.map(Arc::new), program_of: Some(process), ..Self::default() }
    }

    /// Returns where Rust code of the running program was compiled. Debug
    /// information has full paths; the compiler's messages have paths relative
    /// to the directories of these units.
    pub(super) fn compile_units(&mut self, max_memory: u64) -> Result<BTreeSet<CompileUnit>, MissingLines> {
        if self.index.is_none() {
            let elf = self.open_program()?;
            let file = self.program_file();
            let debug_file = split::debug_file(&elf, &file);
            let source = debug_file.as_ref().unwrap_or(&elf);
            lines_source(source, &file.path)?;
            self.index = Some(UnitIndex::read(&dwarf(source, max_memory)?));
        }
        Ok(self.index.as_ref().map(|index| index.compile_units.clone()).unwrap_or_default())
    }

    /// Returns the crates of the running program that have a function `main` at
    /// their root: the program's own. Empty without a symbol table.
    pub(super) fn main_crates(&mut self) -> Result<BTreeSet<String>, MissingLines> {
        let elf = self.open_program()?;
        let file = self.program_file();
        let debug_file = split::debug_file(&elf, &file);
        let source = debug_file.as_ref().unwrap_or(&elf);
        let strings = source.bytes_of(".strtab", &mut 0).unwrap_or_else(|_| Bytes::empty());
        Ok(symbol_table::main_crates(&strings).unwrap_or_default())
    }

    fn program_file(&self) -> CodeFile {
        let process = self.program_of.unwrap_or(Process::Own);
        let path = process.program_path().unwrap_or_default().to_string_lossy().into_owned();
        CodeFile { process, path, ..CodeFile::none() }
    }

    fn open_program(&mut self) -> Result<Elf, MissingLines> {
        let file = match &self.program {
            Some(file) => Arc::clone(file),
            None => {
                let process = self.program_of.ok_or(MissingLines::Unreadable)?;
                let file = open_program_of(process).map_err(|_| MissingLines::Unreadable)?;
                Arc::clone(self.program.insert(Arc::new(file)))
            }
        };
        Elf::read(file).ok_or(MissingLines::Unreadable)
    }

    /// Opens the file that was loaded.
    fn open(&mut self, file: &CodeFile) -> Result<Elf, MissingLines> {
        // Where a tool runs the program, the kernel may know the tool's file as
        // the program.
        let program = if self.program_of.is_some() { self.open_program().ok() } else { None };
        if let Some(program) = program.filter(|program| program.is(&file.identity)) {
            return Ok(program);
        }
        open(file)
    }

    /// Opens the debug information of the file that was loaded.
    #[cfg(feature = "attach")]
    pub(crate) fn debug_info(&mut self, file: &CodeFile, max_memory: u64) -> Result<DebugInfo, MissingLines> {
        DebugInfo::open(&self.open(file)?, file, max_memory)
    }

    /// Returns the functions whose names contain a text, with the addresses in
    /// the file; at most `max_symbols`.
    #[cfg(feature = "attach")]
    pub(crate) fn functions_with(
        &mut self,
        file: &CodeFile,
        text: &str,
        max_symbols: usize,
    ) -> Result<Vec<(u64, String)>, MissingLines> {
        debug_info::functions_with(&self.open(file)?, file, text, max_symbols)
    }

    /// Reads what is known of addresses in the file. Fails if the file cannot
    /// be read now, or is not the one that was loaded.
    pub(super) fn look_up(
        &mut self,
        file: &CodeFile,
        addresses: &[u64],
        max_memory: u64,
    ) -> Result<Vec<AddressInfo>, MissingLines> {
        let elf = self.open(file)?;
        Ok(self.look_up_in(&elf, file, addresses, max_memory))
    }

    fn look_up_in(
        &mut self,
        elf: &Elf,
        file: &CodeFile,
        addresses: &[u64],
        max_memory: u64,
    ) -> Vec<AddressInfo> {
        let debug_file = split::debug_file(elf, file);
        let source = debug_file.as_ref().unwrap_or(elf);
        let mut infos = vec![AddressInfo::default(); addresses.len()];
        let mut begins = vec![None; addresses.len()];
        for (at, symbol) in self.symbols(source, elf, addresses).into_iter().enumerate() {
            let Some(symbol) = symbol else { continue };
            begins[at] = Some(symbol.begin);
            infos[at].symbols = symbol.names;
        }
        let missing = match lines_source(source, &file.path) {
            Err(missing) => Some(missing),
            Ok(()) => match dwarf(source, max_memory) {
                Err(missing) => Some(missing),
                Ok(dwarf) => {
                    self.add_frames(&dwarf, file, addresses, &begins, &mut infos, max_memory);
                    None
                }
            },
        };
        if let Some(missing) = missing {
            for info in &mut infos {
                info.missing = Some(missing.clone());
            }
        }
        infos
    }

    fn symbols(&mut self, debug: &Elf, elf: &Elf, addresses: &[u64]) -> Vec<Option<Symbol>> {
        let known = |address: &u64| {
            let is_around = |symbol: &&Symbol| (symbol.begin..symbol.end).contains(address);
            self.known_symbols.iter().find(is_around).cloned()
        };
        let mut symbols: Vec<_> = addresses.iter().map(known).collect();
        let unknown: Vec<_> = (0..symbols.len()).filter(|at| symbols[*at].is_none()).collect();
        if unknown.is_empty() {
            return symbols;
        }
        if self.known_symbols.len() + unknown.len() > MAX_KNOWN_SYMBOLS {
            self.known_symbols.clear();
        }
        let of_unknown: Vec<_> = unknown.iter().map(|at| addresses[*at]).collect();
        for (at, symbol) in unknown.into_iter().zip(read_symbols(debug, elf, &of_unknown)) {
            self.known_symbols.extend(symbol.clone());
            symbols[at] = symbol;
        }
        symbols
    }

    fn add_frames(
        &mut self,
        dwarf: &Dwarf<Bytes>,
        file: &CodeFile,
        addresses: &[u64],
        begins: &[Option<u64>],
        infos: &mut [AddressInfo],
        max_memory: u64,
    ) {
        let Self { index, known_entries: known, budget, .. } = self;
        let index = index.get_or_insert_with(|| UnitIndex::read(dwarf));
        budget.renew();
        let mut look_up = LookUp { index, known, budget };
        let mut split = SplitUnits::new(file, max_memory);
        // Each unit is read once for all of its addresses.
        let mut by_unit = BTreeMap::<usize, Vec<usize>>::new();
        for (at, address) in addresses.iter().enumerate() {
            for unit in index.units_at(*address) {
                by_unit.entry(unit).or_default().push(at);
            }
        }
        for (offset, places) in by_unit {
            let places: Vec<_> = places.into_iter().filter(|at| infos[*at].frames.is_empty()).collect();
            if places.is_empty() {
                continue;
            }
            let Ok(unit) = units::read_unit(dwarf, offset, &mut look_up.budget.table_bytes) else {
                continue;
            };
            let of_unit: Vec<_> = places.iter().map(|at| addresses[*at]).collect();
            match frames(dwarf, &unit, offset, &mut look_up, &mut split, &of_unit) {
                Ok(found) => {
                    for (at, frames) in places.iter().zip(found) {
                        infos[*at].frames = frames;
                    }
                }
                Err(Failure::Missing(missing)) => {
                    for at in &places {
                        infos[*at].missing = Some(missing.clone());
                    }
                }
                Err(Failure::Broken) => {}
            }
            add_files_of_functions(dwarf, &unit, look_up.budget, &places, begins, infos);
        }
        if look_up.budget.is_used_up() {
            for info in infos.iter_mut().filter(|info| info.frames.is_empty() && info.missing.is_none()) {
                info.missing = Some(MissingLines::TakesTooLong);
            }
        }
    }
}

/// Why a unit gives no frames.
enum Failure {
    Missing(MissingLines),
    Broken,
}

impl From<gimli::Error> for Failure {
    fn from(_: gimli::Error) -> Self {
        Self::Broken
    }
}

/// Returns the frames at addresses of one unit.
fn frames(
    dwarf: &Dwarf<Bytes>,
    unit: &Unit<Bytes>,
    offset: usize,
    look_up: &mut LookUp<'_>,
    split: &mut SplitUnits,
    addresses: &[u64],
) -> Result<Vec<Vec<ImageFrame>>, Failure> {
    let lines_unit = unit.unit_ref(dwarf);
    let functions = match unit.dwo_id {
        None => functions::functions(lines_unit, offset, look_up, addresses)?,
        Some(_) => {
            let bytes_left = &mut look_up.budget.table_bytes;
            let (dwarf, unit) = split.unit(dwarf, unit, bytes_left).map_err(Failure::Missing)?;
            functions::functions(unit.unit_ref(&dwarf), offset, look_up, addresses)?
        }
    };
    let locations = lines::locations(lines_unit, look_up.budget, addresses)?;
    let mut all = Vec::new();
    for (chain, location) in functions.into_iter().zip(locations) {
        if chain.is_empty() && location.is_none() {
            all.push(Vec::new());
            continue;
        }
        let (mut file, mut line, mut column) =
            location.map(|location| (location.file, location.line, location.column)).unwrap_or_default();
        let mut frames = Vec::new();
        for function in chain.into_iter().rev() {
            frames.push(ImageFrame { function: function.name, file, line, column });
            file = function.call_file.map(|number| lines::file(lines_unit, number)).transpose()?.flatten();
            (line, column) = (function.call_line, function.call_column);
        }
        // Code without an entry, such as assembly.
        if frames.is_empty() {
            frames.push(ImageFrame { function: None, file, line, column });
        }
        all.push(frames);
    }
    Ok(all)
}

/// Corrects the files of instructions that the compiler added. They have no
/// line, and their file may be that of any call inlined nearby. The function's
/// first address gives the right file of the outermost function.
fn add_files_of_functions(
    dwarf: &Dwarf<Bytes>,
    unit: &Unit<Bytes>,
    budget: &mut Budget,
    places: &[usize],
    begins: &[Option<u64>],
    infos: &mut [AddressInfo],
) {
    let mut unknown = Vec::new();
    for at in places {
        for frame in infos[*at].frames.iter_mut().filter(|frame| frame.line.is_none()) {
            frame.file = None;
        }
        let is_unknown = infos[*at].frames.last().is_some_and(|frame| frame.file.is_none());
        unknown.extend(begins[*at].filter(|_| is_unknown).map(|begin| (*at, begin)));
    }
    if unknown.is_empty() {
        return;
    }
    let begins: Vec<_> = unknown.iter().map(|(_, begin)| *begin).collect();
    let locations = lines::locations(unit.unit_ref(dwarf), budget, &begins).unwrap_or_default();
    for ((at, _), location) in unknown.into_iter().zip(locations) {
        if let (Some(frame), Some(location)) = (infos[at].frames.last_mut(), location) {
            frame.file = location.file;
        }
    }
}

/// Returns the functions of the symbol table at some addresses.
fn read_symbols(debug: &Elf, elf: &Elf, addresses: &[u64]) -> Vec<Option<Symbol>> {
    let mut memory = 0;
    for (elf, table, strings) in
        [(debug, ".symtab", ".strtab"), (elf, ".symtab", ".strtab"), (elf, ".dynsym", ".dynstr")]
    {
        if !elf.has_section(table) {
            continue;
        }
        let (Ok(table), Ok(strings)) = (elf.bytes_of(table, &mut memory), elf.bytes_of(strings, &mut memory))
        else {
            continue;
        };
        return symbol_table::symbols(&table, &strings, addresses).unwrap_or_default();
    }
    Vec::new()
}

/// Opens the file of a library that was loaded.
fn open(file: &CodeFile) -> Result<Elf, MissingLines> {
    let CodeFile { process, first_mapping, .. } = file;
    let mapping = process.proc_path(&format!("map_files/{:x}-{:x}", first_mapping.start, first_mapping.end));
    let path = Path::new(&file.path);
    let by_path = if path.is_absolute() { process.file_paths(path) } else { Vec::new() };
    let mut missing = MissingLines::Unreadable;
    // The last works for a file that was deleted or replaced, but needs a
    // privilege.
    for path in by_path.into_iter().chain([PathBuf::from(mapping)]) {
        let Ok(opened) = elf::open(&path) else { continue };
        match Elf::read(Arc::new(opened)) {
            Some(elf) if elf.is(&file.identity) => return Ok(elf),
            _ => missing = MissingLines::Replaced,
        }
    }
    Err(missing)
}

/// Opens the program that a process runs, even if its path now leads to another
/// file.
fn open_program_of(process: Process) -> io::Result<File> {
    elf::open(Path::new(&process.proc_path("exe")))
}

#[cfg(test)]
mod tests;
