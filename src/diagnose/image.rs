//! What a program's file contains beyond functions and lines: the directories
//! where it was compiled, and the functions that were merged into one.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use gimli::{AttributeValue, Dwarf, EndianSlice, LittleEndian, SectionId, constants};
use object::{Object, ObjectSection, ObjectSymbol, ReadCache};

type ObjectFile<'f> = object::File<'f, &'f ReadCache<fs::File>>;
type DwarfSlice<'d> = EndianSlice<'d, LittleEndian>;

/// Facts read from the file of a program or library.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// The directories in which the compiler ran for Rust code. For each member
    /// of a workspace this is the workspace's root. Debug information has full
    /// paths; the compiler's messages have paths relative to these directories.
    pub(super) compile_directories: BTreeSet<PathBuf>,
    /// The names of Rust functions that share an address, by that address.
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
            compile_directories: compile_directories(&file).unwrap_or_default(),
            merged_functions: merged_functions(&file),
        }
    }
}

fn compile_directories(file: &ObjectFile<'_>) -> Option<BTreeSet<PathBuf>> {
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
    let mut directories = BTreeSet::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        directories.extend(compile_directory(&dwarf, header).filter(|path| path.is_absolute()));
    }
    Some(directories)
}

/// Returns the directory where a compilation unit was compiled, if it is Rust.
fn compile_directory(
    dwarf: &Dwarf<DwarfSlice<'_>>,
    header: gimli::UnitHeader<DwarfSlice<'_>>,
) -> Option<PathBuf> {
    let unit = dwarf.unit(header).ok()?;
    let mut entries = unit.entries();
    let root = entries.next_dfs().ok()??;
    let language = root.attr_value(constants::DW_AT_language);
    if language != Some(AttributeValue::Language(constants::DW_LANG_Rust)) {
        return None;
    }
    let directory = unit.comp_dir?.to_string().ok()?;
    Some(PathBuf::from(directory))
}

/// Returns the names of Rust functions that share an address with others.
fn merged_functions(file: &ObjectFile<'_>) -> HashMap<u64, Vec<String>> {
    let functions = || {
        file.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text).filter_map(|symbol| {
            let name = symbol.name().ok()?;
            (name.starts_with("_R") || name.starts_with("_ZN")).then(|| (symbol.address(), name))
        })
    };
    let mut counts = HashMap::<u64, usize>::new();
    for (address, _) in functions() {
        *counts.entry(address).or_default() += 1;
    }
    let mut names = HashMap::<u64, Vec<String>>::new();
    for (address, name) in functions().filter(|(address, _)| counts[address] > 1) {
        names.entry(address).or_default().push(format!("{:#}", rustc_demangle::demangle(name)));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compile_directory_of_this_program_is_read() {
        let image = Image::read(Path::new("/proc/self/exe"));
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(image.compile_directories.contains(here), "{:?}", image.compile_directories);
    }

    #[test]
    fn a_file_that_is_not_a_program_gives_an_empty_image() {
        for path in ["/dev/null", "/proc/self/maps", "/no/such/file", "/"] {
            let image = Image::read(Path::new(path));
            assert!(image.compile_directories.is_empty() && image.merged_functions.is_empty());
        }
    }
}
