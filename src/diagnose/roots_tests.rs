//! Frames of programs that were compiled in the usual and in unusual places.

use super::*;

const REGISTRY: &str = "/home/me/.cargo/registry/src/index/argon2-0.6.0";

fn roots(units: &[(&str, &str)]) -> SourceRoots {
    let unit = |(directory, root_file): &(&str, &str)| CompileUnit {
        directory: PathBuf::from(directory),
        root_file: PathBuf::from(root_file),
    };
    SourceRoots::new(Process::Own, units.iter().map(unit), BTreeSet::from(["chat_server".to_owned()]))
}

/// A workspace whose dependencies are in the usual places.
fn workspace() -> SourceRoots {
    roots(&[
        ("/home/me/app", "chat-server/src/main.rs"),
        ("/home/me/app", "core/src/lib.rs"),
        ("/home/me/app", "crates/chat-store/src/lib.rs"),
        ("/home/me/app", "chat-server/src/bin/import.rs"),
        ("/home/me/app", "chat-server/src/bin/load-test/main.rs"),
        ("/home/me/app/vendor/odd", "/home/me/app/vendor/odd/src/lib.rs"),
        ("/home/me/app/deps/even", "/home/me/app/deps/even/src/lib.rs"),
        ("/home/me/common", "/home/me/common/src/lib.rs"),
        ("/rustc/1", "/rustc/1/library/std/src/lib.rs"),
        ("/rust/deps/gimli-0.32.3", "/rust/deps/gimli-0.32.3/src/lib.rs"),
        (REGISTRY, "/home/me/.cargo/registry/src/index/argon2-0.6.0/src/lib.rs"),
    ])
}

#[test]
fn a_function_without_a_file_has_the_kind_of_its_crate() {
    let kinds = [
        ("argon2::block::compress", FrameKind::Dependency),
        ("<gimli::read::Dwarf as gimli::read::Section>::load", FrameKind::Std),
        ("chat_server::run", FrameKind::Application),
        ("core::run", FrameKind::Std),
        ("chat_store::run", FrameKind::Application),
        ("import::run", FrameKind::Application),
        ("load_test::run", FrameKind::Application),
        // The dependencies were compiled without debug information.
        ("rusqlite::Connection::execute", FrameKind::Dependency),
        ("<parking_lot::RawMutex as lock_api::RawMutex>::lock", FrameKind::Dependency),
        ("chat_server_core::run", FrameKind::Dependency),
        ("std::thread::sleep", FrameKind::Std),
        ("clock_nanosleep", FrameKind::Native),
    ];
    for (function, kind) in kinds {
        assert_eq!(workspace().kind_of(function, None, true), kind, "{function}");
    }
    // Without debug information only names tell.
    let kinds = [
        ("dashmap::lock::RawRwLock::lock_exclusive_slow", FrameKind::Dependency),
        ("chat_server::run", FrameKind::Application),
        ("chat_server_core::run", FrameKind::Application),
        ("chat::run", FrameKind::Application),
    ];
    for (function, kind) in kinds {
        assert_eq!(roots(&[]).kind_of(function, None, true), kind, "{function}");
        assert_eq!(roots(&[]).kind_of(function, None, false), FrameKind::Application, "{function}");
    }
}

fn assert_kinds(roots: &SourceRoots, expected: &[(&str, FrameKind)]) {
    for (file, kind) in expected {
        assert_eq!(roots.kind_of("f", Some(file), true), *kind, "{file} of {roots:?}");
    }
}

#[test]
fn paths_are_relative_to_the_workspace_or_begin_with_their_package() {
    for (file, expected) in [
        ("/home/me/app/chat-server/src/services/throttle.rs", "chat-server/src/services/throttle.rs"),
        ("/home/me/app/vendor/odd/src/lib.rs", "vendor/odd/src/lib.rs"),
        ("/home/me/common/src/lib.rs", "common/src/lib.rs"),
        ("/home/me/.cargo/registry/src/index/argon2-0.6.0/src/lib.rs", "argon2-0.6.0/src/lib.rs"),
        ("src/lib.rs", "src/lib.rs"),
    ] {
        assert_eq!(workspace().shorten(file), expected);
    }
}

#[test]
fn the_file_decides_the_kind_of_a_frame() {
    assert_kinds(
        &workspace(),
        &[
            ("/home/me/app/chat-server/src/main.rs", FrameKind::Application),
            ("/home/me/app/core/src/vendor/mod.rs", FrameKind::Application),
            ("/home/me/app/native/zip.c", FrameKind::Application),
            (
                "/home/me/app/target/debug/build/chat-server-0123456789abcdef/out/api.rs",
                FrameKind::Application,
            ),
            ("/home/me/app/target/debug/build/argon2-0123456789abcdef/out/api.rs", FrameKind::Dependency),
            ("/home/me/app/vendor/odd/src/lib.rs", FrameKind::Dependency),
            ("/home/me/app/vendor/never-compiled-alone/src/lib.rs", FrameKind::Dependency),
            ("/home/me/app/vendor/tokio/src/task.rs", FrameKind::Runtime),
            ("/home/me/app/deps/even/src/lib.rs", FrameKind::Dependency),
            ("/home/me/app/deps/even/src/even.c", FrameKind::Dependency),
            ("/home/me/common/src/lib.rs", FrameKind::Dependency),
            ("/home/me/.cargo/registry/src/index/argon2-0.6.0/src/lib.rs", FrameKind::Dependency),
            ("/home/me/.cargo/registry/src/index/argon2-0.6.0/c/argon2.c", FrameKind::Dependency),
            ("/home/me/.cargo/registry/src/index/tokio-1.54.1/src/task.rs", FrameKind::Runtime),
            ("/home/me/.cargo/git/checkouts/x/1/src/lib.rs", FrameKind::Dependency),
            ("/home/me/.cargo/git/checkouts/tokio-0123/1/tokio/src/lib.rs", FrameKind::Runtime),
            ("/rustc/1/library/std/src/fs.rs", FrameKind::Std),
            ("/rust/deps/gimli-0.32.3/src/read/abbrev.rs", FrameKind::Std),
            ("/build/glibc/malloc.c", FrameKind::Native),
            ("/usr/src/x/memcpy.S", FrameKind::Native),
        ],
    );
}

#[test]
fn a_package_of_the_workspace_may_have_the_name_of_a_dependency_folder() {
    let shop = roots(&[
        ("/home/me/shop", "services/vendor/src/main.rs"),
        ("/home/me/shop", "external/gateway/src/main.rs"),
        ("/home/me/shop", "crates/schema-registry/src/main.rs"),
    ]);
    assert_kinds(
        &shop,
        &[
            ("/home/me/shop/services/vendor/src/main.rs", FrameKind::Application),
            ("/home/me/shop/external/gateway/src/api.rs", FrameKind::Application),
            ("/home/me/shop/external/prices/src/lib.rs", FrameKind::Application),
            ("/home/me/shop/external/gateway/vendor/odd/src/lib.rs", FrameKind::Dependency),
            ("/home/me/shop/crates/schema-registry/src/api.rs", FrameKind::Application),
            ("crates/schema-registry/src/api.rs", FrameKind::Application),
            ("/home/me/shop/vendor/odd/src/lib.rs", FrameKind::Dependency),
        ],
    );
}

#[test]
fn the_root_of_the_file_system_is_no_source_directory() {
    for (program, current, expected) in [
        ("/home/me/app/target/debug/app", "/srv", &["/home/me/app", "/srv"][..]),
        ("/usr/bin/app", "/", &[]),
        ("/target/release/app", "/", &[]),
    ] {
        let directories = likely_directories(Some(Path::new(program)), Some(PathBuf::from(current)));
        assert_eq!(directories, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{program}");
    }
}

#[test]
fn a_program_of_a_registry_or_a_distribution_is_the_application() {
    let installed = roots(&[
        (REGISTRY, "/home/me/.cargo/registry/src/index/argon2-0.6.0/src/lib.rs"),
        (
            "/home/me/.cargo/registry/src/index/oha-1.15.0",
            "/home/me/.cargo/registry/src/index/oha-1.15.0/src/main.rs",
        ),
    ]);
    assert_kinds(
        &installed,
        &[
            ("/home/me/.cargo/registry/src/index/oha-1.15.0/src/db.rs", FrameKind::Application),
            ("/home/me/.cargo/registry/src/index/argon2-0.6.0/src/lib.rs", FrameKind::Dependency),
        ],
    );
    // Each crate in a directory of its own, with a relative root file.
    let nix = roots(&[("/build/oha-1.15.0", "src/main.rs"), ("/build/argon2-0.6.0", "src/lib.rs")]);
    assert_kinds(
        &nix,
        &[
            ("/build/oha-1.15.0/src/db.rs", FrameKind::Application),
            ("/build/argon2-0.6.0/src/lib.rs", FrameKind::Dependency),
        ],
    );
    let debian = roots(&[
        ("/usr/share/cargo/registry/oha-1.15.0", "src/main.rs"),
        ("/usr/share/cargo/registry/argon2-0.6.0", "/usr/share/cargo/registry/argon2-0.6.0/src/lib.rs"),
    ]);
    assert_kinds(
        &debian,
        &[
            ("/usr/share/cargo/registry/oha-1.15.0/src/db.rs", FrameKind::Application),
            ("/usr/share/cargo/registry/argon2-0.6.0/src/lib.rs", FrameKind::Dependency),
            ("/usr/src/rustc-1.95.0/library/std/src/fs.rs", FrameKind::Std),
        ],
    );
}

#[test]
fn a_patched_package_within_the_workspace_is_a_dependency() {
    let root = std::env::temp_dir().join(format!("loopscope-patched-{}", std::process::id()));
    std::fs::create_dir_all(root.join("forks/even")).unwrap();
    std::fs::write(root.join("forks/even/Cargo.toml.orig"), "").unwrap();
    let directory = root.to_str().unwrap();
    let roots = roots(&[
        (directory, "src/main.rs"),
        (directory, "forks/even/src/lib.rs"),
        (directory, "forks/own/src/lib.rs"),
    ]);
    for (file, kind) in [
        ("src/main.rs", FrameKind::Application),
        ("forks/even/src/lib.rs", FrameKind::Dependency),
        ("forks/own/src/lib.rs", FrameKind::Application),
    ] {
        assert_kinds(&roots, &[(root.join(file).to_str().unwrap(), kind)]);
    }
    let _ = std::fs::remove_dir_all(root);
}

#[test]
fn remapped_dependencies_are_not_the_application() {
    let to_nothing = roots(&[("/home/me/app", "src/main.rs"), ("argon2-0.6.0", "argon2-0.6.0/src/lib.rs")]);
    let to_a_folder = roots(&[("/app", "src/main.rs"), ("/deps/argon2", "/deps/argon2/src/lib.rs")]);
    let all_to_nothing = roots(&[("", "src/main.rs"), ("argon2-0.6.0", "argon2-0.6.0/src/lib.rs")]);
    let bazel = roots(&[(".", "app/src/main.rs"), (".", "external/crates__argon2-0.6.0/src/lib.rs")]);
    for (roots, own, foreign) in [
        (to_nothing, "/home/me/app/src/a.rs", "argon2-0.6.0/src/lib.rs"),
        (to_a_folder, "/app/src/a.rs", "/deps/argon2/src/lib.rs"),
        (all_to_nothing, "src/a.rs", "argon2-0.6.0/src/lib.rs"),
        (bazel, "./app/src/a.rs", "./external/crates__argon2-0.6.0/src/lib.rs"),
    ] {
        assert_kinds(&roots, &[(own, FrameKind::Application), (foreign, FrameKind::Dependency)]);
    }
}

#[test]
fn the_c_library_is_not_the_application_in_whichever_folder_it_is() {
    for file in
        ["./misc/../sysdeps/unix/sysv/linux/x86_64/syscall.S", "./io/../sysdeps/unix/sysv/linux/epoll_wait.c"]
    {
        for roots in [workspace(), roots(&[])] {
            assert_eq!(roots.kind_of("syscall", Some(file), false), FrameKind::Native, "{file} of {roots:?}");
        }
    }
}

#[test]
fn code_of_a_loaded_library_is_the_application_unless_it_was_downloaded() {
    let kind = |file| workspace().kind_of("f", Some(file), false);
    assert_eq!(kind("/home/me/plugin/src/lib.rs"), FrameKind::Application);
    assert_eq!(kind("/home/me/plugin/vendor/odd/src/lib.rs"), FrameKind::Dependency);
    assert_eq!(kind("/usr/lib/python/object.c"), FrameKind::Native);
}
