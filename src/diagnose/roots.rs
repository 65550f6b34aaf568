//! The directories of the application's own sources, as debug information names
//! them.

use std::path::{Path, PathBuf};

use crate::diagnose::names;
use crate::finding::FrameKind;
use crate::lock::Lock;
use crate::per_process::PerProcess;

/// The directories that contain the application's sources, innermost first.
#[derive(Debug)]
pub(super) struct SourceRoots(Vec<PathBuf>);

/// The same directories, for code that shows a line of source.
static PROCESS_SOURCE_ROOTS: PerProcess<Lock<Vec<PathBuf>>> = PerProcess::new();

/// Returns the directories in which this process's own sources were compiled.
#[cfg(feature = "diagnostic")]
pub(crate) fn source_roots() -> Vec<PathBuf> {
    PROCESS_SOURCE_ROOTS.get().lock().clone()
}

impl SourceRoots {
    /// Selects the application's source roots among the directories in which
    /// the program was compiled. Crates of a registry are compiled in
    /// directories of their own, which are left out.
    pub(super) fn new(compile_directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let is_application =
            |path: &PathBuf| path.parent().is_some() && !is_in_registry(path) && !is_in_rustc(path);
        let mut roots: Vec<_> = compile_directories.into_iter().filter(is_application).collect();
        // Without debug information: the parent of Cargo's `target/`, if the
        // program is below one, and the current directory.
        if roots.is_empty() {
            let program = std::env::current_exe().ok();
            let target =
                program.iter().flat_map(|path| path.ancestors()).find(|path| path.ends_with("target"));
            roots.extend(target.and_then(Path::parent).map(Path::to_owned));
            roots.extend(std::env::current_dir().ok());
        }
        // The innermost matching root must be found first.
        roots.sort_by_key(|root| std::cmp::Reverse(root.components().count()));
        PROCESS_SOURCE_ROOTS.get().lock().clone_from(&roots);
        Self(roots)
    }

    /// Returns the path as the compiler prints it: relative to its root.
    pub(super) fn shorten(&self, file: &str) -> String {
        let path = Path::new(file);
        let relative = self.0.iter().find_map(|root| path.strip_prefix(root).ok());
        relative.unwrap_or(path).to_string_lossy().into_owned()
    }

    /// Returns the kind of a function by its file, or by its name if no file is
    /// known.
    pub(super) fn kind_of(&self, function: &str, file: Option<&str>) -> FrameKind {
        const LOOPSCOPE_SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
        let Some(file) = file else { return names::kind_of(function).unwrap_or(FrameKind::Native) };
        let path = Path::new(file);
        let is_application = self.0.iter().any(|root| path.starts_with(root));
        if is_in_rustc(path) {
            FrameKind::Std
        } else if file.starts_with(LOOPSCOPE_SOURCES) {
            FrameKind::Runtime
        } else if is_in_registry(path) && !is_application {
            let is_runtime = file.contains("/tokio-1.") || file.contains("/console-subscriber-");
            if is_runtime { FrameKind::Runtime } else { FrameKind::Dependency }
        } else if file.starts_with("/usr/")
            || file.contains("/glibc")
            || file.ends_with(".S")
            || file.ends_with(".c") && !is_application
        {
            FrameKind::Native
        } else {
            FrameKind::Application
        }
    }
}

/// Returns whether the path is in one of Cargo's folders for downloaded crates.
fn is_in_registry(path: &Path) -> bool {
    let path = path.to_string_lossy();
    ["/registry/src/", "/git/checkouts/"].iter().any(|part| path.contains(part))
}

/// Returns whether the path belongs to the sources of the standard library.
fn is_in_rustc(path: &Path) -> bool {
    path.starts_with("/rustc") || path.to_string_lossy().contains("/rustlib/src/rust/library/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> SourceRoots {
        let registry = "/home/me/.cargo/registry/src/index/argon2-0.6.0";
        SourceRoots::new(["/home/me/app", "/home/me/app/vendor/odd", "/rustc/1", registry].map(PathBuf::from))
    }

    #[test]
    fn paths_are_shortened_to_the_innermost_root() {
        for (file, expected) in [
            ("/home/me/app/chat-server/src/services/throttle.rs", "chat-server/src/services/throttle.rs"),
            ("/home/me/app/vendor/odd/src/lib.rs", "src/lib.rs"),
            ("/elsewhere/src/lib.rs", "/elsewhere/src/lib.rs"),
            ("src/lib.rs", "src/lib.rs"),
        ] {
            assert_eq!(roots().shorten(file), expected);
        }
    }

    #[test]
    fn the_file_decides_the_kind_of_a_frame() {
        for (file, expected) in [
            ("/home/me/app/src/main.rs", FrameKind::Application),
            ("/home/me/app/native/zip.c", FrameKind::Application),
            ("/home/me/.cargo/registry/src/index/argon2-0.6.0/src/lib.rs", FrameKind::Dependency),
            ("/home/me/.cargo/registry/src/index/tokio-1.54.1/src/task.rs", FrameKind::Runtime),
            ("/home/me/.cargo/git/checkouts/x/1/src/lib.rs", FrameKind::Dependency),
            ("/rustc/1/library/std/src/fs.rs", FrameKind::Std),
            ("/build/glibc/malloc.c", FrameKind::Native),
        ] {
            assert_eq!(roots().kind_of("f", Some(file)), expected, "{file}");
        }
    }
}
