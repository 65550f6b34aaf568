//! Where the application's own sources lie, as paths of debug information have
//! it.

use std::path::{Path, PathBuf};

use crate::diagnose::names;
use crate::finding::FrameKind;
use crate::lock::Lock;

/// The directories that paths of the application's sources start from.
#[derive(Debug)]
pub(super) struct Roots(Vec<PathBuf>);

/// The same, for whoever shows a line of source.
static SHARED: Lock<Vec<PathBuf>> = Lock::new(Vec::new());

/// The directories in which this process's own sources were compiled.
#[cfg(feature = "diagnostic")]
pub(crate) fn source_roots() -> Vec<PathBuf> {
    SHARED.lock().clone()
}

impl Roots {
    /// From the directories that the program was compiled in. Those of the
    /// registry's crates are their own, not the application's.
    pub(super) fn new(compiled_in: impl IntoIterator<Item = PathBuf>) -> Self {
        let is_ours = |path: &PathBuf| path.parent().is_some() && !is_of_registry(path) && !is_of_rustc(path);
        let mut roots: Vec<_> = compiled_in.into_iter().filter(is_ours).collect();
        // Without debug information: the directory above `target/`, as Cargo
        // has it, or else where the program was started.
        if roots.is_empty() {
            let program = std::env::current_exe().ok();
            let target =
                program.iter().flat_map(|path| path.ancestors()).find(|path| path.ends_with("target"));
            roots.extend(target.and_then(Path::parent).map(Path::to_owned));
            roots.extend(std::env::current_dir().ok());
        }
        // The innermost that fits comes first.
        roots.sort_by_key(|root| std::cmp::Reverse(root.components().count()));
        SHARED.lock().clone_from(&roots);
        Self(roots)
    }

    /// The path as the compiler prints it.
    pub(super) fn shorten(&self, file: &str) -> String {
        let path = Path::new(file);
        let relative = self.0.iter().find_map(|root| path.strip_prefix(root).ok());
        relative.unwrap_or(path).to_string_lossy().into_owned()
    }

    /// Whose code a function is.
    pub(super) fn kind_of(&self, function: &str, file: Option<&str>) -> FrameKind {
        const OURS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
        let Some(file) = file else { return names::kind_of(function).unwrap_or(FrameKind::Native) };
        let path = Path::new(file);
        let is_ours = self.0.iter().any(|root| path.starts_with(root));
        if is_of_rustc(path) {
            FrameKind::Std
        } else if file.starts_with(OURS) {
            FrameKind::Runtime
        } else if is_of_registry(path) && !is_ours {
            let is_runtime = file.contains("/tokio-1.") || file.contains("/console-subscriber-");
            if is_runtime { FrameKind::Runtime } else { FrameKind::Dependency }
        } else if file.starts_with("/usr/")
            || file.contains("/glibc")
            || file.ends_with(".S")
            || file.ends_with(".c") && !is_ours
        {
            FrameKind::Native
        } else {
            FrameKind::Application
        }
    }
}

/// Cargo's folders for what it downloads.
fn is_of_registry(path: &Path) -> bool {
    let path = path.to_string_lossy();
    ["/registry/src/", "/git/checkouts/"].iter().any(|part| path.contains(part))
}

fn is_of_rustc(path: &Path) -> bool {
    path.starts_with("/rustc") || path.to_string_lossy().contains("/rustlib/src/rust/library/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Roots {
        let registry = "/home/me/.cargo/registry/src/index/argon2-0.6.0";
        Roots::new(["/home/me/app", "/home/me/app/vendor/odd", "/rustc/1", registry].map(PathBuf::from))
    }

    #[test]
    fn paths_start_from_where_the_compiler_ran() {
        for (file, expected) in [
            ("/home/me/app/chat-server/src/inject/sleep.rs", "chat-server/src/inject/sleep.rs"),
            ("/home/me/app/vendor/odd/src/lib.rs", "src/lib.rs"),
            ("/elsewhere/src/lib.rs", "/elsewhere/src/lib.rs"),
            ("src/lib.rs", "src/lib.rs"),
        ] {
            assert_eq!(roots().shorten(file), expected);
        }
    }

    #[test]
    fn a_file_tells_whose_code_it_is() {
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
