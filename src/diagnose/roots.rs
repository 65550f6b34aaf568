//! The directories of the application's own sources, as debug information names
//! them.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::diagnose::compile_unit::{self, CompileUnit};
use crate::diagnose::names;
use crate::finding::FrameKind;
use crate::lock::Lock;
use crate::per_process::PerProcess;
use crate::process::Process;
use crate::source_path;

/// The directories in which the program's crates were compiled.
#[derive(Debug)]
pub(super) struct SourceRoots {
    /// The directories of the application, innermost first.
    application: Vec<PathBuf>,
    /// The directories of other crates, innermost first.
    dependencies: Vec<PathBuf>,
    /// Whether the directories are those of the debug information.
    are_exact: bool,
    /// The crates of the directories of other crates, with the kind of their
    /// functions.
    other_crates: HashMap<String, FrameKind>,
    /// The crates of the application: those with a function `main` at their
    /// root, and those of its directories.
    own_crates: BTreeSet<String>,
    /// Folders on the way to a program of the application, relative to its
    /// directory, that have a name as folders with other people's packages have
    /// it.
    own_folders: BTreeSet<String>,
}

/// The application's directories, for code that shows a line of source.
static PROCESS_SOURCE_ROOTS: PerProcess<Lock<RootsOfProcess>> = PerProcess::new();

/// The directories in which the sources of a process were compiled.
#[derive(Debug, Clone, Default)]
#[cfg_attr(not(feature = "diagnostic"), allow(dead_code))]
pub(crate) struct RootsOfProcess {
    pub(crate) roots: Vec<PathBuf>,
    /// The user of the process, if it is another one than this: what that user
    /// may not read must not be shown.
    pub(crate) other_owner: Option<u32>,
}

/// Returns the directories in which the sources were compiled that findings are
/// about.
#[cfg(feature = "diagnostic")]
pub(crate) fn source_roots() -> RootsOfProcess {
    PROCESS_SOURCE_ROOTS.get().lock().clone()
}

impl SourceRoots {
    /// Selects the application's source roots among the directories in which
    /// the program was compiled: the workspace's root. Path dependencies
    /// outside of the workspace are dependencies as those of a registry are.
    pub(super) fn new(
        process: Process,
        units: impl IntoIterator<Item = CompileUnit>,
        main_crates: BTreeSet<String>,
    ) -> Self {
        let (mut application, mut dependencies): (Vec<_>, Vec<_>) =
            units.into_iter().partition(CompileUnit::is_application);
        // Where each crate is built alone, all root files are relative. Folders
        // with a version are those of dependencies then, unless the program is
        // in one.
        let programs: Vec<_> = application.iter().filter(|unit| unit.is_program()).cloned().collect();
        let is_program_directory =
            |unit: &CompileUnit| programs.iter().any(|program| program.directory == unit.directory);
        if !programs.is_empty() {
            dependencies.extend(application.extract_if(.., |unit| {
                !is_program_directory(unit) && compile_unit::is_in_downloaded_package(&unit.directory)
            }));
        }
        // Cargo compiles a patched package within the workspace like a member.
        let own: Vec<_> = programs.iter().map(CompileUnit::package_directory).collect();
        let packages =
            application.iter().filter(|unit| !unit.is_program()).map(CompileUnit::package_directory);
        let patched: BTreeSet<_> = packages
            .filter(|folder| !own.contains(folder) && compile_unit::is_published_package(folder))
            .collect();
        let own_folders = application.iter().filter_map(CompileUnit::program_folder).collect();
        let mut own_crates = main_crates;
        let own_units = application.iter().filter(|unit| !patched.contains(&unit.package_directory()));
        own_crates.extend(own_units.filter_map(CompileUnit::crate_name));
        let mut application = directories(application.into_iter().map(|unit| unit.directory));
        let dependencies = directories(dependencies.into_iter().map(|unit| unit.directory).chain(patched));
        let other_crates = dependencies.iter().filter_map(|directory| other_crate(directory)).collect();
        let are_exact = !application.is_empty();
        if !are_exact {
            let program = process.program_path();
            application = likely_directories(program.as_deref(), process.current_folder());
        }
        let other_owner = process.other_pid().map(|_| process.owner().unwrap_or(u32::MAX));
        *PROCESS_SOURCE_ROOTS.get().lock() = RootsOfProcess { roots: application.clone(), other_owner };
        Self { application, dependencies, are_exact, other_crates, own_crates, own_folders }
    }

    /// Returns the path as the compiler prints it for the application's files:
    /// relative to its root. The path of another file begins with its package.
    pub(super) fn shorten(&self, file: &str) -> String {
        let relative = self.relative_to_application(file).filter(|path| !path.is_empty());
        relative.map_or_else(|| source_path::shorten(file).into_owned(), str::to_owned)
    }

    fn relative_to_application<'f>(&self, file: &'f str) -> Option<&'f str> {
        let path = Path::new(file);
        self.application.iter().find_map(|root| path.strip_prefix(root).ok()?.to_str())
    }

    /// Returns the kind of a function by its file, or by its name if no file is
    /// known. `is_in_program` is false for a function of a library that was
    /// loaded at run time, whose directories are not known.
    pub(super) fn kind_of(&self, function: &str, file: Option<&str>, is_in_program: bool) -> FrameKind {
        const LOOPSCOPE_SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
        let Some(file) = file else { return self.kind_by_name(function, is_in_program) };
        if source_path::is_in_std(file) {
            return FrameKind::Std;
        }
        if file.starts_with(LOOPSCOPE_SOURCES) {
            return FrameKind::Runtime;
        }
        // A library of the system may be in any folder (after a `chroot`, or in
        // a store of packages), and its debug information has relative paths.
        let is_rust = file.ends_with(".rs");
        let is_of_application = || file.starts_with('/') && self.relative_to_application(file).is_some();
        if !is_in_program && !is_rust && !source_path::is_in_downloaded_package(file) && !is_of_application()
        {
            return FrameKind::Native;
        }
        if self.is_application(file, is_in_program) {
            return FrameKind::Application;
        }
        let is_downloaded = source_path::is_in_downloaded_package(file);
        let is_assembly = file.ends_with(".S") || file.ends_with(".s");
        let is_native = file.starts_with("/usr/") || file.contains("/glibc") || !is_rust;
        if is_assembly || is_native && !is_downloaded && !self.is_in_dependency(file) {
            return FrameKind::Native;
        }
        match source_path::package_name(file) {
            Some("tokio" | "console-subscriber" | "loopscope") => FrameKind::Runtime,
            _ => FrameKind::Dependency,
        }
    }

    /// Returns the kind of a function without a file. Where the program's
    /// crates are known, no other crate is the application. The program may
    /// have no debug information, or only its dependencies have none.
    fn kind_by_name(&self, function: &str, is_in_program: bool) -> FrameKind {
        let kind = names::kind_of(function).unwrap_or(FrameKind::Native);
        let Some(crate_name) = names::crate_of(function).filter(|_| kind == FrameKind::Application) else {
            return kind;
        };
        if let Some(kind) =
            self.other_crates.get(crate_name).filter(|_| !self.own_crates.contains(crate_name))
        {
            return *kind;
        }
        let is_related = |own: &String| {
            let has_prefix = |name: &str, prefix: &str| {
                name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            };
            // With debug information the names of all crates are known.
            if self.are_exact {
                own == crate_name
            } else {
                has_prefix(crate_name, own) || has_prefix(own, crate_name)
            }
        };
        let is_unknown = !is_in_program || self.own_crates.is_empty();
        if is_unknown || self.own_crates.iter().any(is_related) {
            FrameKind::Application
        } else {
            FrameKind::Dependency
        }
    }

    fn is_application(&self, file: &str, is_in_program: bool) -> bool {
        let relative = self.relative_to_application(file);
        if let Some(relative) = relative.or(Some(file).filter(|file| !file.starts_with('/'))) {
            return !source_path::is_in_downloaded_package(self.below_own_folders(relative))
                && !self.is_in_dependency(file)
                && !self.is_generated_for_dependency(relative);
        }
        // The directories of a library are not known, nor those of a program
        // without debug information: any file is the application's that is not
        // known to be somebody else's.
        let is_exact = self.are_exact && is_in_program;
        !is_exact && file.ends_with(".rs") && !source_path::is_in_downloaded_package(file)
    }

    /// Returns the part of a path below the folders that contain a program of
    /// the application.
    fn below_own_folders<'f>(&self, relative: &'f str) -> &'f str {
        let relative = relative.strip_prefix("./").unwrap_or(relative);
        let below = |folder: &String| relative.strip_prefix(folder.as_str())?.strip_prefix('/');
        self.own_folders.iter().filter_map(below).min_by_key(|rest| rest.len()).unwrap_or(relative)
    }

    /// Returns whether the innermost directory that contains the file is a
    /// dependency's. A vendored package is compiled in a directory within the
    /// application's.
    fn is_in_dependency(&self, file: &str) -> bool {
        let contains = |root: &&PathBuf| Path::new(file).starts_with(root);
        let depth = |root: &PathBuf| root.components().count();
        let dependency = self.dependencies.iter().find(contains).map(depth);
        let application = self.application.iter().find(contains).map(depth);
        dependency > application
    }

    /// Returns whether the build script of a dependency wrote the file:
    /// `target/debug/build/NAME-0123456789abcdef/out/bindings.rs`.
    fn is_generated_for_dependency(&self, relative: &str) -> bool {
        let mut parts = relative.split('/').skip_while(|part| *part != "build").skip(1);
        let (Some(folder), Some("out")) = (parts.next(), parts.next()) else { return false };
        let package = folder.rsplit_once('-').map_or(folder, |(name, _)| name);
        self.dependencies.iter().any(|directory| {
            let file = directory.join("src/lib.rs");
            source_path::package_name(&file.to_string_lossy()) == Some(package)
        })
    }
}

/// Returns the directories, innermost first: the innermost that contains a file
/// must be found first.
fn directories(directories: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut directories: Vec<_> = directories.collect();
    directories.sort_by(|one, other| {
        other.components().count().cmp(&one.components().count()).then_with(|| one.cmp(other))
    });
    directories.dedup();
    // Where the compiler's directory is remapped to nothing, paths are relative
    // already.
    directories.retain(|directory| !matches!(directory.to_str(), Some("" | ".")));
    directories
}

/// Returns where a program without debug information may have been compiled:
/// the parent of Cargo's `target/`, if the program is below one, and the
/// current directory. In a container that is often `/`, which contains
/// everything.
fn likely_directories(program: Option<&Path>, current: Option<PathBuf>) -> Vec<PathBuf> {
    let target = program.and_then(|path| path.ancestors().find(|folder| folder.ends_with("target")));
    let workspace = target.and_then(Path::parent).map(Path::to_owned);
    let is_root = |directory: &PathBuf| directory.parent().is_none();
    workspace.into_iter().chain(current).filter(|directory| !is_root(directory)).collect()
}

/// Returns the crate that was compiled in the directory, and the kind of its
/// functions.
fn other_crate(directory: &Path) -> Option<(String, FrameKind)> {
    let root_file = directory.join("src/lib.rs");
    let root_file = root_file.to_string_lossy();
    let kind = if source_path::is_in_std(&root_file) { FrameKind::Std } else { FrameKind::Dependency };
    Some((source_path::package_name(&root_file)?.replace('-', "_"), kind))
}

#[cfg(test)]
#[path = "roots_tests.rs"]
mod tests;
