//! Where and how Cargo compiled a part of the program.

use std::path::{Path, PathBuf};

use crate::source_path;

/// A part of a program that the Rust compiler compiled at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CompileUnit {
    /// The directory in which the compiler ran.
    pub(super) directory: PathBuf,
    /// The crate's root file, such as `src/main.rs`. Cargo passes a relative
    /// path for the packages of the workspace, and runs the compiler in the
    /// workspace's root. For any other package the path is absolute, and the
    /// compiler runs in the package's own directory.
    pub(super) root_file: PathBuf,
}

impl CompileUnit {
    /// Returns whether the crate is a program. No dependency is one.
    pub(super) fn is_program(&self) -> bool {
        self.root_file.ends_with("src/main.rs") || self.program_name().is_some()
    }

    /// Returns the name of the program of `src/bin/NAME.rs` or
    /// `src/bin/NAME/main.rs`.
    fn program_name(&self) -> Option<&str> {
        let folder = self.root_file.parent()?;
        if folder.ends_with("src/bin") {
            return self.root_file.file_stem()?.to_str();
        }
        let is_program = self.root_file.ends_with("main.rs") && folder.parent()?.ends_with("src/bin");
        folder.file_name().filter(|_| is_program)?.to_str()
    }

    /// Returns the name of the crate, if it is that of its root file or of its
    /// package's folder.
    pub(super) fn crate_name(&self) -> Option<String> {
        let file = self.directory.join(&self.root_file);
        let name = self.program_name().or_else(|| source_path::package_name(file.to_str()?))?;
        Some(name.replace('-', "_"))
    }

    /// Returns the innermost folder on the way to a program that has a name as
    /// folders with other people's packages have it, relative to the directory.
    pub(super) fn program_folder(&self) -> Option<String> {
        let root_file = self.root_file.strip_prefix(&self.directory).unwrap_or(&self.root_file);
        let root_file = root_file.strip_prefix(".").unwrap_or(root_file);
        let is_own = self.is_program() && root_file.is_relative();
        source_path::dependency_directory(root_file.parent()?.to_str()?).filter(|_| is_own).map(str::to_owned)
    }

    /// Returns the folder of the package.
    pub(super) fn package_directory(&self) -> PathBuf {
        let file = self.directory.join(&self.root_file);
        let mut folders = file.ancestors().skip(1);
        let is_in_bin = |folder: &Path| folder.parent().is_some_and(|folder| folder.ends_with("src/bin"));
        let is_package =
            |folder: &&Path| !folder.ends_with("src") && !folder.ends_with("src/bin") && !is_in_bin(folder);
        folders.find(is_package).unwrap_or(&file).to_owned()
    }

    /// Returns whether the crate may be one of the application's.
    pub(super) fn is_application(&self) -> bool {
        let is_absolute = self.directory.is_absolute();
        let is_root = self.directory.parent().is_none();
        // A path prefix that is remapped to nothing makes a dependency's path
        // relative, too.
        let is_workspace =
            self.root_file.is_relative() && (is_absolute || !is_in_downloaded_package(&self.directory));
        !is_root && (is_workspace || self.is_program()) && !is_in_std(&self.root_file)
    }
}

/// Returns whether the folder is on this machine and contains a package as a
/// registry has it: somebody else's, with or without changes.
pub(super) fn is_published_package(folder: &Path) -> bool {
    const FILES_OF_REGISTRY: [&str; 3] = [".cargo-checksum.json", ".cargo_vcs_info.json", "Cargo.toml.orig"];
    folder.is_absolute() && FILES_OF_REGISTRY.iter().any(|file| folder.join(file).is_file())
}

pub(super) fn is_in_downloaded_package(directory: &Path) -> bool {
    source_path::is_in_downloaded_package(&directory.join("src/lib.rs").to_string_lossy())
}

fn is_in_std(root_file: &Path) -> bool {
    source_path::is_in_std(&root_file.to_string_lossy())
}
