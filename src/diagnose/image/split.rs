//! Debug information that is in other files than the program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gimli::{Dwarf, DwarfPackage, Reader, Unit};

use crate::diagnose::image::bytes::Bytes;
use crate::diagnose::image::elf::{self, Elf};
use crate::diagnose::image::given_files;
use crate::diagnose::image::missing::MissingLines;
use crate::diagnose::image::unit_tables;
use crate::evidence::CodeFile;
use crate::process::Process;

/// Libraries of the system. Their functions need names, but no lines.
const SYSTEM_FOLDERS: [&str; 4] = ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/"];
const DEBUG_FOLDER: &str = "/usr/lib/debug";

/// Returns whether a file is a library of the system.
pub(in crate::diagnose) fn is_of_system(path: &str) -> bool {
    SYSTEM_FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// Returns the file that has the debug information of a program that has none
/// itself: the one that has the same build id.
pub(super) fn debug_file(elf: &Elf, file: &CodeFile) -> Option<Elf> {
    if is_of_system(&file.path) || elf.has_section(".debug_info") {
        return None;
    }
    let id = elf.build_id()?;
    let hex = given_files::hex(id);
    let (first, rest) = hex.split_at_checked(2)?;
    let mut paths = vec![Path::new(DEBUG_FOLDER).join(format!(".build-id/{first}/{rest}.debug"))];
    if let (Some(name), Some(folder)) = (elf.debug_link(), Path::new(&file.path).parent()) {
        let below_root = folder.strip_prefix("/").unwrap_or(folder);
        for folder in [folder.to_owned(), folder.join(".debug"), Path::new(DEBUG_FOLDER).join(below_root)] {
            paths.push(folder.join(&name));
        }
    }
    let given = given_files::all();
    let given = given.iter().filter_map(|path| Elf::read(Arc::new(elf::open(path).ok()?)));
    given
        .chain(paths.iter().filter_map(|path| open(file.process, path)))
        .find(|debug| debug.build_id() == Some(id) && debug.has_section(".debug_info"))
}

/// Opens a file with debug information. Another process may have another root
/// directory; such files may be below this one's.
fn open(process: Process, path: &Path) -> Option<Elf> {
    let open = |path: &Path| Elf::read(Arc::new(elf::open(path).ok()?));
    process.file_paths(path).iter().find_map(|path| open(path))
}

/// A unit of another file, with the sections of that file.
type SplitUnit = (Dwarf<Bytes>, Unit<Bytes>);

/// The units that are outside of the program's file: in a package (`.dwp`) or
/// in files of their own (`.dwo`).
#[derive(Debug)]
pub(super) struct SplitUnits {
    process: Process,
    package_path: PathBuf,
    /// `None` until it is needed.
    package: Option<Option<DwarfPackage<Bytes>>>,
    max_memory: u64,
}

impl SplitUnits {
    pub(super) fn new(file: &CodeFile, max_memory: u64) -> Self {
        let package_path = PathBuf::from(format!("{}.dwp", file.path));
        Self { process: file.process, package_path, package: None, max_memory }
    }

    /// Returns the other part of a unit, of which the program's file has only
    /// the addresses and lines.
    pub(super) fn unit(
        &mut self,
        dwarf: &Dwarf<Bytes>,
        skeleton: &Unit<Bytes>,
        table_bytes_left: &mut usize,
    ) -> Result<SplitUnit, MissingLines> {
        let package =
            self.package.get_or_insert_with(|| package(self.process, &self.package_path, self.max_memory));
        if let Some(package) = package
            && let Some(unit) = in_package(package, dwarf, skeleton, table_bytes_left)
        {
            return Ok(unit);
        }
        let object = object_path(dwarf, skeleton);
        let unit = object
            .as_deref()
            .map(|path| in_object(self.process, path, dwarf, self.max_memory))
            .transpose()?
            .flatten()
            .and_then(|split| unit_of(split, skeleton, table_bytes_left));
        unit.ok_or_else(|| {
            let paths = [Some(&self.package_path), object.as_ref()].into_iter().flatten();
            MissingLines::InOtherFile(paths.map(|path| path.to_string_lossy().into_owned()).collect())
        })
    }
}

fn package(process: Process, path: &Path, max_memory: u64) -> Option<DwarfPackage<Bytes>> {
    let elf = open(process, path)?;
    let mut memory_left = max_memory;
    let load = |id: gimli::SectionId| match id.dwo_name() {
        Some(name) => elf.bytes_of(name, &mut memory_left).map_err(|_| gimli::Error::Io),
        None => Ok(Bytes::empty()),
    };
    DwarfPackage::load(load, Bytes::empty()).ok()
}

fn in_package(
    package: &DwarfPackage<Bytes>,
    dwarf: &Dwarf<Bytes>,
    skeleton: &Unit<Bytes>,
    table_bytes_left: &mut usize,
) -> Option<SplitUnit> {
    let split = package.find_cu(skeleton.dwo_id?, dwarf).ok()??;
    unit_of(split, skeleton, table_bytes_left)
}

fn in_object(
    process: Process,
    path: &Path,
    dwarf: &Dwarf<Bytes>,
    max_memory: u64,
) -> Result<Option<Dwarf<Bytes>>, MissingLines> {
    let Some(elf) = open(process, path) else { return Ok(None) };
    let mut memory_left = max_memory;
    let mut split = Dwarf::load(|id| match id.dwo_name() {
        Some(name) => elf.bytes_of(name, &mut memory_left),
        None => Ok(Bytes::empty()),
    })?;
    split.make_dwo(dwarf);
    Ok(Some(split))
}

fn unit_of(split: Dwarf<Bytes>, skeleton: &Unit<Bytes>, table_bytes_left: &mut usize) -> Option<SplitUnit> {
    let header = split.units().next().ok()??;
    let mut unit = unit_tables::open_unit(&split, header, table_bytes_left).ok()?;
    if unit.dwo_id != skeleton.dwo_id {
        return None;
    }
    unit.copy_relocated_attributes(skeleton);
    Some((split, unit))
}

/// Returns the path of the object file that has the other part of a unit.
fn object_path(dwarf: &Dwarf<Bytes>, skeleton: &Unit<Bytes>) -> Option<PathBuf> {
    let name = dwarf.attr_string(skeleton, skeleton.dwo_name().ok()??).ok()?;
    let folder = skeleton.comp_dir.as_ref()?.to_string().ok()?;
    Some(Path::new(&*folder).join(&*name.to_string().ok()?))
}
