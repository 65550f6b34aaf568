//! What a program's file contains beyond functions and lines: the directories
//! where it was compiled, and the functions that were merged into one.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use gimli::{AttributeValue, Dwarf, EndianSlice, LittleEndian, SectionId, constants};
use object::{Object, ObjectSection, ObjectSymbol, ReadCache};

use crate::diagnose::compile_unit::CompileUnit;

type ObjectFile<'f> = object::File<'f, &'f ReadCache<fs::File>>;
type DwarfSlice<'d> = EndianSlice<'d, LittleEndian>;

/// Facts read from the file of a program or library.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// Where Rust code was compiled. Debug information has full paths; the
    /// compiler's messages have paths relative to these directories.
    pub(super) compile_units: BTreeSet<CompileUnit>,
    /// The crates with a function `main` at their root: the program's own.
    pub(super) main_crates: BTreeSet<String>,
    /// The names of std's functions that share an address, by that address.
    pub(super) merged_functions: HashMap<u64, Vec<String>>,
}

impl Image {
    /// Reads the file. The result is empty if the file cannot be read or is not
    /// a program.
    pub(super) fn read(path: &Path) -> Self {
        let is_file = fs::metadata(path).is_ok_and(|file| file.is_file());
        let Some(file) = is_file.then(|| fs::File::open(path).ok()).flatten() else { return Self::default() };
        // Reads parts of the file on demand.
        let contents = ReadCache::new(file);
        let Ok(file) = object::File::parse(&contents) else { return Self::default() };
        Self {
            compile_units: compile_units(&file).unwrap_or_default(),
            main_crates: main_crates(&file),
            merged_functions: merged_functions(&file),
        }
    }
}

fn compile_units(file: &ObjectFile<'_>) -> Option<BTreeSet<CompileUnit>> {
    let load = |id: SectionId| -> Result<_, object::Error> {
        let is_needed = matches!(
            id,
            SectionId::DebugInfo
                | SectionId::DebugAbbrev
                | SectionId::DebugStr
                | SectionId::DebugStrOffsets
                | SectionId::DebugLine
                | SectionId::DebugLineStr
        );
        let section = file.section_by_name(id.name()).filter(|_| is_needed);
        section.map(|section| section.uncompressed_data()).transpose().map(Option::unwrap_or_default)
    };
    let sections = gimli::DwarfSections::load(load).ok()?;
    let dwarf = sections.borrow(|section| DwarfSlice::new(section, LittleEndian));
    let mut compile_units = BTreeSet::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        compile_units.extend(compile_unit(&dwarf, header));
    }
    Some(compile_units)
}

/// Returns where a compilation unit was compiled, if it is Rust.
fn compile_unit(
    dwarf: &Dwarf<DwarfSlice<'_>>,
    header: gimli::UnitHeader<DwarfSlice<'_>>,
) -> Option<CompileUnit> {
    let unit = dwarf.unit(header).ok()?;
    let mut entries = unit.entries();
    let root = entries.next_dfs().ok()??;
    let language = root.attr_value(constants::DW_AT_language);
    if language != Some(AttributeValue::Language(constants::DW_LANG_Rust)) {
        return None;
    }
    // The compiler appends `/@/` and the name of a part of the crate.
    let name = unit.name?.to_string().ok()?;
    let root_file = name.split_once("/@/").map_or(name, |(file, _)| file);
    let directory = unit.comp_dir?.to_string().ok()?;
    Some(CompileUnit { directory: PathBuf::from(directory), root_file: PathBuf::from(root_file) })
}

/// Returns the crates with a function `main` at their root.
fn main_crates(file: &ObjectFile<'_>) -> BTreeSet<String> {
    let main_crate = |name: &str| {
        // Both mangling schemes contain each part with its length.
        let name = name.contains("4main").then(|| format!("{:#}", rustc_demangle::demangle(name)))?;
        let crate_name = name.strip_suffix("::main")?;
        (!crate_name.contains("::")).then(|| crate_name.to_owned())
    };
    file.symbols().filter_map(|symbol| main_crate(symbol.name().ok()?)).collect()
}

/// Returns the names of std's functions that share an address with others.
fn merged_functions(file: &ObjectFile<'_>) -> HashMap<u64, Vec<String>> {
    let mut names = HashMap::<u64, Vec<String>>::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text) {
        let Ok(name) = symbol.name() else { continue };
        // Both mangling schemes contain the crate's name with its length.
        if name.contains("3std") && (name.starts_with("_R") || name.starts_with("_ZN")) {
            names.entry(symbol.address()).or_default().push(name.to_owned());
        }
    }
    names.retain(|_, names| names.len() > 1);
    for names in names.values_mut().flatten() {
        *names = format!("{:#}", rustc_demangle::demangle(names));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compile_units_of_this_program_are_read() {
        let image = Image::read(Path::new("/proc/self/exe"));
        let here = CompileUnit {
            directory: PathBuf::from(env!("CARGO_MANIFEST_DIR")),
            root_file: PathBuf::from("src/lib.rs"),
        };
        assert!(image.compile_units.contains(&here), "{:?}", image.compile_units);
        assert!(image.main_crates.contains("loopscope"), "{:?}", image.main_crates);
    }

    #[test]
    fn a_file_that_is_not_a_program_gives_an_empty_image() {
        for path in ["/dev/null", "/proc/self/maps", "/no/such/file", "/"] {
            let image = Image::read(Path::new(path));
            assert!(image.compile_units.is_empty() && image.merged_functions.is_empty());
        }
    }
}
