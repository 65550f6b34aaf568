//! Paths of source files, as compilers write them into programs: the package
//! that a file belongs to, and a form without the directories of the machine
//! that compiled it.

use std::borrow::Cow;

/// Directories that contain other people's packages, wherever they are.
const DEPENDENCY_DIRECTORIES: [&str; 10] = [
    "vendor",
    "vendored",
    "third_party",
    "third-party",
    "thirdparty",
    "external",
    "cargo-vendor-dir",
    ".cargo",
    "patched",
    "patches",
];

/// Directories of a package in which Rust sources may be.
const SOURCE_DIRECTORIES: [&str; 4] = ["src", "tests", "examples", "benches"];

/// Returns the path without the directories of the machine that compiled it:
/// from the folder of the package on, as `axum-0.8.9/src/serve/mod.rs` or
/// `library/std/src/thread/mod.rs`. A relative path stays as it is.
pub(crate) fn shorten(path: &str) -> Cow<'_, str> {
    let is_windows_path = path.contains(":\\") || path.starts_with("\\\\");
    if is_windows_path {
        return Cow::Owned(shorten(&path.replace('\\', "/")).into_owned());
    }
    let is_home = path.starts_with('~') || path.as_bytes().get(1) == Some(&b':');
    if !path.starts_with('/') && !is_home && !is_in_registry(path) {
        return Cow::Borrowed(path);
    }
    if let Some(library) = std_library_start(path) {
        return Cow::Borrowed(&path[library..]);
    }
    let Some((package, rest)) = split_package(path) else {
        // Two folders are enough to recognise the file.
        let begin = path.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
        return Cow::Borrowed(path[begin..].trim_start_matches('/'));
    };
    match git_repository(package) {
        Some(repository) => Cow::Owned(format!("{repository}/{rest}")),
        None => {
            let begin = package.rfind('/').map_or(0, |at| at + 1);
            Cow::Borrowed(path[begin..].trim_start_matches('/'))
        }
    }
}

/// Returns the name of the package that a file belongs to, without a version:
/// `axum` for `…/axum-0.8.9/src/serve/mod.rs`.
pub(crate) fn package_name(path: &str) -> Option<&str> {
    let (package, _) = split_package(path)?;
    if let Some(repository) = git_repository(package) {
        return Some(repository);
    }
    let folder = package.rsplit('/').next()?;
    let name = split_version(folder).map_or(folder, |(name, _)| name);
    // Bazel's rules for Rust name a folder after the repository, too:
    // `crates__axum-0.8.9`.
    let name = if is_below(package, "external") { name.rsplit("__").next()? } else { name };
    Some(name).filter(|name| !name.is_empty() && *name != "." && *name != "..")
}

/// Returns whether the path belongs to the sources of Rust's standard library
/// or of a crate that is compiled into it.
pub(crate) fn is_in_std(path: &str) -> bool {
    path.starts_with("/rustc/") || path.starts_with("/rust/deps/") || std_library_start(path).is_some()
}

/// Returns whether the path shows that the file belongs to a package that was
/// downloaded: it is in one of Cargo's folders, in a vendor folder, in a
/// package manager's folder, or in a folder with a version.
pub(crate) fn is_in_downloaded_package(path: &str) -> bool {
    if is_in_registry(path) || path.starts_with("/nix/store/") {
        return true;
    }
    let package = split_package(path)
        .map_or_else(|| path.rsplit_once('/').map_or("", |(folder, _)| folder), |(package, _)| package);
    // A test of the application may have modules of these names.
    let is_test = package.split('/').any(|part| SOURCE_DIRECTORIES.contains(&part));
    // The package itself may have such a name: `services/vendor/src/main.rs`.
    let (parents, folder) = package.rsplit_once('/').unwrap_or(("", package));
    let is_named_so = dependency_directory(parents).is_some();
    !is_test && is_named_so || split_version(folder).is_some()
}

/// Returns the innermost folder on a path that has a name as folders with other
/// people's packages have it: `a/vendor` for `a/vendor/b`.
pub(crate) fn dependency_directory(path: &str) -> Option<&str> {
    let ends = path.match_indices('/').map(|(slash, _)| slash).chain([path.len()]);
    ends.map(|end| &path[..end])
        .rfind(|folder| DEPENDENCY_DIRECTORIES.contains(&folder.rsplit('/').next().unwrap_or_default()))
}

/// Returns whether the path is in one of Cargo's folders for downloaded crates.
/// A package of the application may have one of their names:
/// `crates/schema-registry/src/main.rs`.
fn is_in_registry(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    let is_registry = |parts: &[&str]| match parts {
        ["registry", "src", _, package, _] => split_version(package).is_some(),
        ["git", "checkouts", ..] => true,
        _ => false,
    };
    parts.windows(5).any(is_registry)
        || path.contains(".cargo/registry/src/")
        || path.contains("/usr/share/cargo/")
}

/// Splits a path before the source directory of its package:
/// `…/axum-0.8.9` and `src/serve/mod.rs`. Returns `None` if the path has no
/// such directory.
fn split_package(path: &str) -> Option<(&str, &str)> {
    // The last one: a registry is itself in a folder `src`.
    let at = path.rfind("/src/").or_else(|| {
        let directories = SOURCE_DIRECTORIES[1..].iter();
        directories.filter_map(|name| path.rfind(&format!("/{name}/"))).max()
    })?;
    // `registry/src/index/x-1.0/lib.rs` has no source directory of its own.
    let (package, rest) = (&path[..at], &path[at + 1..]);
    let is_registry = package == "registry" || package.ends_with("/registry");
    let end = rest.match_indices('/').map(|(slash, _)| at + 1 + slash).nth(2).filter(|_| is_registry);
    let has_version = |end: &usize| path[..*end].rsplit('/').next().and_then(split_version).is_some();
    match end.filter(has_version) {
        Some(end) => Some((&path[..end], &path[end + 1..])),
        None => Some((package, rest)),
    }
}

/// Returns the name of the repository if the folder is the root of one of
/// Cargo's git checkouts: `x` for `git/checkouts/x-0123456789abcdef/1a2b3c4`.
fn git_repository(package: &str) -> Option<&str> {
    let (before, checkout) = package.split_once("git/checkouts/")?;
    if !before.is_empty() && !before.ends_with('/') {
        return None;
    }
    let (repository, revision) = checkout.split_once('/')?;
    if revision.contains('/') {
        return None;
    }
    Some(repository.rsplit_once('-').map_or(repository, |(name, _)| name))
}

/// Splits the folder of a package into name and version: `axum`, `0.8.9`.
fn split_version(folder: &str) -> Option<(&str, &str)> {
    let is_version = |text: &str| {
        let mut numbers = text.split('.');
        let starts_with_digit =
            |part: Option<&str>| part.is_some_and(|part| part.starts_with(|c: char| c.is_ascii_digit()));
        (0..3).all(|_| starts_with_digit(numbers.next()))
    };
    let mut dashes = folder.match_indices('-');
    let (at, _) = dashes.find(|(at, _)| is_version(&folder[at + 1..]))?;
    Some((&folder[..at], &folder[at + 1..]))
}

fn is_below(path: &str, folder: &str) -> bool {
    path.split('/').any(|part| part == folder)
}

/// Returns where the part `library/…` of a path to std's sources begins.
fn std_library_start(path: &str) -> Option<usize> {
    const CRATES: [&str; 7] =
        ["std", "core", "alloc", "test", "proc_macro", "panic_unwind", "compiler-builtins"];
    let at = path.find("/library/").filter(|at| {
        let rest = &path[at + "/library/".len()..];
        CRATES.iter().any(|name| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')))
    })?;
    // Distributions compile it elsewhere: `/usr/src/rustc-1.95.0/library/…`.
    let compiler = path[..at].rsplit('/').find(|part| !part.is_empty())?;
    let is_compiler = compiler == "rust" && path[..at].ends_with("/rustlib/src/rust")
        || path.starts_with("/rustc/")
        || compiler.starts_with("rustc-")
        || compiler.starts_with("rust-");
    is_compiler.then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_with_its_package() {
        for (path, expected) in [
            (
                "/root/.cargo/registry/src/registry-1949/axum-0.8.9/src/serve/mod.rs",
                "axum-0.8.9/src/serve/mod.rs",
            ),
            ("/home/me/.cargo/registry/src/index-1/zip-2.0.0+z1.3/lib.rs", "zip-2.0.0+z1.3/lib.rs"),
            (
                "/home/me/.cargo/git/checkouts/tokio-0123456789abcdef/1a2b3c4/tokio/src/lib.rs",
                "tokio/src/lib.rs",
            ),
            ("/home/me/.cargo/git/checkouts/my-x-0123456789abcdef/1a2b3c4/src/lib.rs", "my-x/src/lib.rs"),
            ("~/.cargo/registry/src/index/axum-0.8.9/src/lib.rs", "axum-0.8.9/src/lib.rs"),
            (r"C:\Users\me\.cargo\registry\src\index\axum-0.8.9\src\lib.rs", "axum-0.8.9/src/lib.rs"),
            ("/home/me/common/src/lib.rs", "common/src/lib.rs"),
            ("/home/me/common/tests/all.rs", "common/tests/all.rs"),
            ("/rustc/59807616/library/std/src/thread/mod.rs", "library/std/src/thread/mod.rs"),
            ("/rust/deps/gimli-0.32.3/src/read/abbrev.rs", "gimli-0.32.3/src/read/abbrev.rs"),
            ("/build/glibc-2.36/malloc/malloc.c", "malloc/malloc.c"),
            ("/home/me/a.rs", "me/a.rs"),
            ("/a.rs", "a.rs"),
            ("src/main.rs", "src/main.rs"),
            ("chat-server/src/main.rs", "chat-server/src/main.rs"),
            ("crates/schema-registry/src/main.rs", "crates/schema-registry/src/main.rs"),
            ("registry/src/main.rs", "registry/src/main.rs"),
            ("registry/src/api/v1/handlers.rs", "registry/src/api/v1/handlers.rs"),
            ("registry/src/index/axum-0.8.9/src/lib.rs", "axum-0.8.9/src/lib.rs"),
            ("/home/me/schema-registry/src/api/v1/handlers.rs", "schema-registry/src/api/v1/handlers.rs"),
            ("/home/me/registry/src/api/v1/handlers.rs", "registry/src/api/v1/handlers.rs"),
            ("legit/checkouts/src/main.rs", "legit/checkouts/src/main.rs"),
            ("", ""),
        ] {
            assert_eq!(shorten(path), expected, "{path}");
        }
    }

    #[test]
    fn the_folder_of_a_package_names_it() {
        for (path, expected) in [
            ("/r/registry/src/index/argon2-0.6.0/src/lib.rs", Some("argon2")),
            ("/r/registry/src/index/ab-cd-1.2.3-rc.1/src/lib.rs", Some("ab-cd")),
            ("vendor/crossbeam-channel/src/context.rs", Some("crossbeam-channel")),
            ("external/crates__dashmap-6.1.0/src/lib.rs", Some("dashmap")),
            ("/g/git/checkouts/my-x-0123456789abcdef/1a2b3c4/src/lib.rs", Some("my-x")),
            ("/rust/deps/gimli-0.32.3/src/read/abbrev.rs", Some("gimli")),
            ("/rustc/1/library/std/src/fs.rs", Some("std")),
            ("main.rs", None),
        ] {
            assert_eq!(package_name(path), expected, "{path}");
        }
    }

    #[test]
    fn sources_of_the_standard_library_are_recognised() {
        for path in [
            "/rustc/59807616/library/std/src/fs.rs",
            "/rustc/59807616/library/compiler-builtins/compiler-builtins/src/lib.rs",
            "/rust/deps/gimli-0.32.3/src/read/abbrev.rs",
            "/root/.rustup/toolchains/stable/lib/rustlib/src/rust/library/core/src/ptr/mod.rs",
            "/usr/src/rustc-1.95.0/library/std/src/fs.rs",
            "/build/rustc-1.95.0-src/library/alloc/src/vec/mod.rs",
        ] {
            assert!(is_in_std(path), "{path}");
        }
        for path in ["/home/me/library/std/src/lib.rs", "library/core/src/lib.rs", "/home/me/rust/src/lib.rs"]
        {
            assert!(!is_in_std(path), "{path}");
        }
    }

    #[test]
    fn downloaded_packages_are_recognised() {
        for path in [
            "/home/me/.cargo/registry/src/index/argon2-0.6.0/src/lib.rs",
            "/usr/share/cargo/registry/argon2-0.6.0/src/lib.rs",
            "/nix/store/abc-cargo-vendor-dir/argon2-0.6.0/src/lib.rs",
            "/build/cargo-vendor-dir/argon2/src/lib.rs",
            "vendor/crossbeam-channel/src/context.rs",
            "external/crates__dashmap-6.1.0/src/lib.rs",
            "./external/dashmap/lib.rs",
            "third_party/rust/bitflags/src/lib.rs",
            "argon2-0.6.0/src/lib.rs",
            "/deps/argon2-0.6.0/src/lib.rs",
            "registry/src/index/argon2-0.6.0/src/lib.rs",
            "registry/src/index/argon2-0.6.0/lib.rs",
        ] {
            assert!(is_in_downloaded_package(path), "{path}");
        }
        for path in [
            "src/main.rs",
            "src/vendor/mod.rs",
            "src/external/api.rs",
            "tests/vendor/mod.rs",
            "crates/web-2/src/lib.rs",
            "/home/me/app/src/main.rs",
            "crates/schema-registry/src/main.rs",
            "registry/src/main.rs",
            "registry/src/api/v1/handlers.rs",
            "crates/legit/checkouts/src/main.rs",
            "services/vendor/src/main.rs",
            "services/external/src/api.rs",
            "patches/src/bin/apply.rs",
            "patched/src/lib.rs",
            "bazel-out/k8-fastbuild/bin/app/src/api.rs",
        ] {
            assert!(!is_in_downloaded_package(path), "{path}");
        }
    }
}
