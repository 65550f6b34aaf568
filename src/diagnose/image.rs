//! What a program's file tells beyond functions and lines: where it was
//! compiled, and which functions were merged into one.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use gimli::{AttributeValue, Dwarf, EndianSlice, LittleEndian, SectionId, constants};
use object::{Object, ObjectSection, ObjectSymbol, ReadCache};

type File<'f> = object::File<'f, &'f ReadCache<fs::File>>;
type Slice<'d> = EndianSlice<'d, LittleEndian>;

/// A program or library.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// The directories that the compiler ran in for Rust code: a workspace's
    /// root for each of its members. Debug information has full paths, the
    /// compiler's messages have paths from here.
    pub(super) compiled_in: BTreeSet<PathBuf>,
    /// The names of std's functions that share an address with others.
    pub(super) merged: HashMap<u64, Vec<String>>,
}

impl Image {
    /// Empty where the file cannot be read, or is not what was expected.
    pub(super) fn read(path: &Path) -> Self {
        let is_file = fs::metadata(path).is_ok_and(|file| file.is_file());
        let Some(file) = is_file.then(|| fs::File::open(path).ok()).flatten() else { return Self::default() };
        // Reads what is looked at, not all of it.
        let contents = ReadCache::new(file);
        let Ok(file) = object::File::parse(&contents) else { return Self::default() };
        Self { compiled_in: compiled_in(&file).unwrap_or_default(), merged: merged(&file) }
    }
}

fn compiled_in(file: &File<'_>) -> Option<BTreeSet<PathBuf>> {
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
    let dwarf = sections.borrow(|section| Slice::new(section, LittleEndian));
    let mut directories = BTreeSet::new();
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        directories.extend(directory_of(&dwarf, header).filter(|path| path.is_absolute()));
    }
    Some(directories)
}

/// Where one unit was compiled, if it is of Rust.
fn directory_of(dwarf: &Dwarf<Slice<'_>>, header: gimli::UnitHeader<Slice<'_>>) -> Option<PathBuf> {
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

fn merged(file: &File<'_>) -> HashMap<u64, Vec<String>> {
    let mut names = HashMap::<u64, Vec<String>>::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text) {
        let Ok(name) = symbol.name() else { continue };
        // The crate's name stands in both kinds of mangled names.
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
    fn this_program_knows_where_it_was_compiled() {
        let image = Image::read(Path::new("/proc/self/exe"));
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(image.compiled_in.contains(here), "{:?}", image.compiled_in);
    }

    #[test]
    fn what_is_no_program_tells_nothing() {
        for path in ["/dev/null", "/proc/self/maps", "/no/such/file", "/"] {
            let image = Image::read(Path::new(path));
            assert!(image.compiled_in.is_empty() && image.merged.is_empty());
        }
    }
}
