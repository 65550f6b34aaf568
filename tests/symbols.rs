//! Functions and lines are those of the code that ran: for libraries that are
//! loaded, unloaded and replaced, for debug information in other files, and
//! while descriptors or memory are short. What cannot be known is said.
//!
//! The tests compile small libraries and load them. Scenarios that change the
//! whole process run in a process of their own, as in `coexistence.rs`.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
// SAFETY of all unsafe blocks: each call gets numbers or pointers to live
// values of the expected type. A loaded library is built by this test, and its
// function has the type that it is called with.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

mod common;
#[path = "common/library.rs"]
mod library;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{env, thread};

use common::{STALL, finding, runtime, scope};
use library::{Folder, Library};
use loopscope::{Finding, Scope};
use tokio::runtime::Runtime;

/// Blocks in a library and returns the finding.
fn block_in(scope: &Scope, runtime: &Runtime, kind: &'static str, library: Library) -> Finding {
    let task = async move { loopscope::spawn(kind, async move { library.block(STALL) }).await };
    runtime.block_on(task).unwrap();
    finding(scope, kind)
}

/// Loads a library, blocks in it, and returns the finding.
fn finding_of(path: &Path) -> Finding {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    block_in(&scope, &runtime, "plugin", Library::load(path))
}

fn line(finding: &Finding) -> Option<u32> {
    let frame = finding.stack.iter().find(|frame| frame.function.ends_with("blocks"));
    frame.and_then(|frame| frame.line)
}

#[track_caller]
fn assert_line(finding: &Finding, expected: u32) {
    assert_eq!(line(finding), Some(expected), "{finding:#?}");
    assert_eq!(finding.site.as_ref().and_then(|site| site.line), Some(expected), "{finding:#?}");
    assert_eq!(finding.lines_missing, None, "{finding:#?}");
}

#[track_caller]
fn assert_missing(finding: &Finding, reason: &str) {
    assert_eq!(line(finding), None, "{finding:#?}");
    let missing = finding.lines_missing.as_deref().unwrap_or_default();
    assert!(missing.contains(reason), "{missing:?} does not contain {reason:?}: {finding:#?}");
}

/// Returns whether a program of binutils exists, and says so if it does not.
fn has_tool(tool: &str) -> bool {
    let exists = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !exists {
        common::not_checked(format_args!("the program `{tool}` is missing"));
    }
    exists
}

fn run_tool(tool: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(tool).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn libraries_that_take_turns_at_one_path_have_their_own_lines() {
    let folder = Folder::new("turns");
    let scope = scope();
    let runtime = runtime(&scope, 1);
    for (kind, expected) in [("first", 7), ("second", 21), ("third", 7)] {
        let new = folder.library("new", expected, &[]);
        let path = folder.0.join("plugin.so");
        fs::rename(new, &path).unwrap();
        let scope_finding = block_in(&scope, &runtime, kind, Library::load(&path));
        assert_line(&scope_finding, expected as u32);
    }
}

#[test]
fn libraries_that_take_turns_at_one_address_have_their_own_lines() {
    let folder = Folder::new("address");
    let scope = scope();
    let runtime = runtime(&scope, 1);
    for (kind, expected) in [("first", 5), ("second", 33)] {
        let path = folder.library(kind, expected, &[]);
        assert_line(&block_in(&scope, &runtime, kind, Library::load(&path)), expected as u32);
    }
}

fn is_mapped(path: &Path) -> bool {
    fs::read_to_string("/proc/self/maps").unwrap().contains(path.to_str().unwrap())
}

#[test]
fn a_file_that_is_overwritten_between_two_loads_has_the_lines_of_each() {
    let folder = Folder::new("overwritten");
    for argument in ["-Clink-arg=-Wl,--build-id=sha1", "-Clink-arg=-Wl,--build-id=none"] {
        let scope = scope();
        let runtime = runtime(&scope, 1);
        let path = folder.0.join("plugin.so");
        for (kind, expected) in [("first", 9), ("second", 140)] {
            let new = folder.library("new", expected, &[argument]);
            if is_mapped(&path) {
                common::not_checked("a library that is replaced, because the C library does not unload it");
                return;
            }
            // The same file with new contents.
            fs::copy(new, &path).unwrap();
            assert_line(&block_in(&scope, &runtime, kind, Library::load(&path)), expected as u32);
        }
    }
}

#[test]
fn libraries_without_build_id_that_take_turns_have_their_own_lines() {
    let folder = Folder::new("no-id");
    let scope = scope();
    let runtime = runtime(&scope, 1);
    for (kind, expected) in [("first", 9), ("second", 140)] {
        let new = folder.library("new", expected, &["-Clink-arg=-Wl,--build-id=none"]);
        let path = folder.0.join("plugin.so");
        fs::rename(new, &path).unwrap();
        assert_line(&block_in(&scope, &runtime, kind, Library::load(&path)), expected as u32);
    }
}

#[test]
fn a_loaded_library_whose_file_was_replaced_has_its_own_line_or_none() {
    let folder = Folder::new("replaced");
    let path = folder.library("old", 11, &[]);
    let library = Library::load(&path);
    let new = folder.library("new", 44, &[]);
    fs::rename(new, &path).unwrap();
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let finding = block_in(&scope, &runtime, "plugin", library);
    // With a privilege, the kernel gives access to the old file.
    if line(&finding).is_some() {
        assert_line(&finding, 11);
    } else {
        assert_missing(&finding, "is no longer the file that was loaded");
    }
}

#[test]
fn a_loaded_library_whose_file_was_deleted_has_its_own_line_or_none() {
    let folder = Folder::new("deleted");
    let path = folder.library("gone", 11, &[]);
    let library = Library::load(&path);
    fs::remove_file(&path).unwrap();
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let finding = block_in(&scope, &runtime, "plugin", library);
    if line(&finding).is_some() {
        assert_line(&finding, 11);
    } else {
        assert_missing(&finding, "cannot be read");
    }
}

#[test]
fn lines_are_read_from_a_package_of_debug_information() {
    let folder = Folder::new("packed");
    let path = folder.library("packed", 13, &["-Csplit-debuginfo=packed"]);
    assert_line(&finding_of(&path), 13);
}

#[test]
fn lines_without_their_package_are_missing_and_never_wrong() {
    let folder = Folder::new("no-package");
    let path = folder.library("packed", 13, &["-Csplit-debuginfo=packed"]);
    fs::remove_file(folder.0.join("libpacked.so.dwp")).unwrap();
    assert_missing(&finding_of(&path), "which was not found");
}

#[test]
fn lines_are_read_from_object_files() {
    let folder = Folder::new("unpacked");
    let path = folder.library("unpacked", 15, &["-Csplit-debuginfo=unpacked"]);
    assert_line(&finding_of(&path), 15);
}

#[test]
fn lines_are_read_from_a_separate_file_beside_a_stripped_library() {
    if !has_tool("objcopy") {
        return;
    }
    let folder = Folder::new("stripped");
    let path = folder.library("stripped", 17, &["-Clink-arg=-Wl,--build-id=sha1"]);
    run_tool("objcopy", &["--only-keep-debug", "libstripped.so", "libstripped.debug"], &folder.0);
    run_tool(
        "objcopy",
        &["--strip-all", "--add-gnu-debuglink=libstripped.debug", "libstripped.so"],
        &folder.0,
    );
    assert_line(&finding_of(&path), 17);
    fs::remove_file(folder.0.join("libstripped.debug")).unwrap();
    let finding = finding_of(&path);
    assert_missing(&finding, "`libstripped.debug`, which was not found");
}

#[test]
#[cfg(feature = "compressed-debug-info")]
fn compressed_lines_are_read_within_the_limit_and_missing_beyond_it() {
    let folder = Folder::new("compressed");
    for format in ["zlib", "zstd"] {
        let argument = format!("-Clink-arg=-Wl,--compress-debug-sections={format}");
        let path = folder.library(format, 19, &[&argument]);
        assert_line(&finding_of(&path), 19);
        let scope = Scope::builder()
            .terminal(loopscope::Terminal::Never)
            .max_debug_info_memory(1000)
            .start()
            .unwrap();
        let runtime = runtime(&scope, 1);
        let finding = block_in(&scope, &runtime, "plugin", Library::load(&path));
        assert_missing(&finding, "`ScopeBuilder::max_debug_info_memory` sets the limit");
    }
}

#[test]
#[cfg(not(feature = "compressed-debug-info"))]
fn the_feature_that_reads_compressed_lines_is_named() {
    let folder = Folder::new("compressed");
    let path = folder.library("zlib", 19, &["-Clink-arg=-Wl,--compress-debug-sections=zlib"]);
    assert_missing(&finding_of(&path), "the feature `compressed-debug-info`");
}

/// Runs a scenario in a child process.
fn run_scenario(program: &Path, scenario: &str) {
    common::run_scenario_of(Command::new(program), scenario, common::SCENARIO_TIMEOUT);
}

#[test]
fn lines_are_found_although_no_descriptor_was_free_before() {
    run_scenario(&env::current_exe().unwrap(), "no_descriptors");
}

#[inline(never)]
fn sleeps() -> u32 {
    thread::sleep(STALL);
    line!() - 1
}

#[test]
#[ignore = "a scenario"]
fn no_descriptors() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let folder = Folder::new("descriptors");
    let plugin = Library::load(&folder.library("plugin", 23, &[]));
    let limit = libc::rlimit { rlim_cur: 128, rlim_max: 128 };
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let open_all = || std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let files: Vec<_> = open_all();
    let run = |kind: &'static str| {
        let task = async move { loopscope::spawn(kind, async { sleeps() }).await };
        let line = runtime.block_on(task).unwrap();
        let found = finding(&scope, kind);
        assert_eq!(found.site.as_ref().and_then(|site| site.line), Some(line), "{found:#?}");
    };
    run("first");
    let plugin: &'static Library = Box::leak(Box::new(plugin));
    let run_plugin = |kind: &'static str| {
        runtime.block_on(async move { loopscope::spawn(kind, async { plugin.block(STALL) }).await }).unwrap();
    };
    // Loopscope may have closed files since.
    let more_files: Vec<_> = open_all();
    run_plugin("plugin");
    assert_missing(&finding(&scope, "plugin"), "cannot be read");
    drop((files, more_files));
    // The file is tried again after a while.
    let has_line = |finding: &Finding| line(finding) == Some(23);
    let found = (0..20).find_map(|_| {
        run_plugin("again");
        scope.findings().findings.into_iter().find(has_line)
    });
    assert_line(&found.expect("the library's line is found"), 23);
}

/// Without `tokio_unstable`, the stacks may all be taken before the list is read
/// again. Then no line is known.
#[cfg(tokio_unstable)]
#[test]
fn no_line_is_wrong_where_the_list_of_mappings_is_too_long_to_read_each_time() {
    run_scenario(&env::current_exe().unwrap(), "many_mappings");
}

#[cfg(tokio_unstable)]
#[test]
#[ignore = "a scenario"]
fn many_mappings() {
    const MAPPINGS: usize = 8_000;
    const PAGE_BYTES: usize = 4096;
    // Neighbours of different protection stay apart.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let start =
        unsafe { libc::mmap(std::ptr::null_mut(), MAPPINGS * PAGE_BYTES, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED);
    for at in (0..MAPPINGS).step_by(2) {
        let page = start.wrapping_byte_add(at * PAGE_BYTES);
        assert_eq!(unsafe { libc::mprotect(page, PAGE_BYTES, libc::PROT_READ) }, 0);
    }
    let folder = Folder::new("mappings");
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let mut lines = 0;
    for (kind, expected) in [("first", 7), ("second", 21), ("third", 7)] {
        let new = folder.library("new", expected, &[]);
        let path = folder.0.join("plugin.so");
        fs::rename(new, &path).unwrap();
        let library = Library::load(&path);
        let task = async move { loopscope::spawn(kind, async move { library.block(STALL) }).await };
        runtime.block_on(task).unwrap();
        // Captures whose frames have no lines may be a separate finding.
        let is_of_kind = |found: &Finding| found.task.kind == kind;
        let document = common::ended_findings(&scope, |document| document.findings.iter().any(is_of_kind));
        for found in document.findings.iter().filter(|found| is_of_kind(found)) {
            if let Some(line) = line(found) {
                assert_eq!(line, expected as u32, "{found:#?}");
                lines += 1;
            }
        }
    }
    // The list is read again after a while at the latest.
    let library: &'static Library = Box::leak(Box::new(Library::load(&folder.0.join("plugin.so"))));
    common::eventually("a line", || {
        runtime
            .block_on(async move { loopscope::spawn("again", async { library.block(STALL) }).await })
            .unwrap();
        let has_line = |finding: &Finding| finding.task.kind == "again" && line(finding) == Some(7);
        (lines > 0 || scope.findings().findings.iter().any(has_line)).then_some(())
    });
}

/// Copies this program to a folder.
fn copy_of_this_program(folder: &Folder) -> PathBuf {
    let program = folder.0.join("program");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    program
}

#[test]
fn the_program_itself_has_lines_from_a_separate_file() {
    if !has_tool("objcopy") {
        return;
    }
    let folder = Folder::new("separate");
    let program = copy_of_this_program(&folder);
    run_tool("objcopy", &["--only-keep-debug", "program", "lines.debug"], &folder.0);
    run_tool("objcopy", &["--strip-all", "--add-gnu-debuglink=lines.debug", "program"], &folder.0);
    run_scenario(&program, "first_finding");
}

#[test]
fn a_program_without_debug_information_says_what_gives_lines() {
    if !has_tool("objcopy") {
        return;
    }
    let folder = Folder::new("bare");
    let program = copy_of_this_program(&folder);
    run_tool("objcopy", &["--strip-debug", "program"], &folder.0);
    run_scenario(&program, "no_lines");
}

#[test]
#[ignore = "a scenario"]
fn no_lines() {
    let scope = scope();
    let runtime = runtime(&scope, 1);
    runtime.block_on(async { loopscope::spawn("first", async { sleeps() }).await }).unwrap();
    let found = finding(&scope, "first");
    assert!(found.stack.iter().all(|frame| frame.line.is_none()), "{found:#?}");
    assert!(found.stack.iter().any(|frame| frame.function.ends_with("::sleeps")), "{found:#?}");
    let missing = found.lines_missing.as_deref().unwrap_or_default();
    assert!(missing.contains("`debug = \"line-tables-only\"`"), "{found:#?}");
}

const EXTRA_STRING_BYTES: u64 = 300_000_000;
/// The memory that the first finding may take.
const MAX_GROWTH_BYTES: u64 = 30_000_000;

#[test]
fn large_debug_information_is_not_copied_to_memory() {
    if !has_tool("objcopy") {
        return;
    }
    let folder = Folder::new("large");
    let program = copy_of_this_program(&folder);
    run_tool("objcopy", &["--dump-section", ".debug_str=strings", "program", "/dev/null"], &folder.0);
    let strings = File::options().write(true).open(folder.0.join("strings")).unwrap();
    strings.set_len(strings.metadata().unwrap().len() + EXTRA_STRING_BYTES).unwrap();
    run_tool("objcopy", &["--update-section", ".debug_str=strings", "program"], &folder.0);
    assert!(fs::metadata(&program).unwrap().len() > EXTRA_STRING_BYTES);
    run_scenario(&program, "first_finding");
}

fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.strip_suffix("kB"));
    kilobytes.and_then(|text| text.trim().parse().ok()).map_or(0, |kilobytes: u64| kilobytes * 1024)
}

#[test]
#[ignore = "a scenario"]
fn first_finding() {
    static PEAK: AtomicU64 = AtomicU64::new(0);
    let scope = scope();
    let runtime = runtime(&scope, 1);
    let rest = anonymous_bytes();
    assert_ne!(rest, 0);
    thread::spawn(|| {
        loop {
            PEAK.fetch_max(anonymous_bytes(), Relaxed);
            thread::sleep(Duration::from_millis(1));
        }
    });
    let line = runtime.block_on(async { loopscope::spawn("first", async { sleeps() }).await }).unwrap();
    let found = finding(&scope, "first");
    assert_eq!(found.site.as_ref().and_then(|site| site.line), Some(line), "{found:#?}");
    let growth = PEAK.load(Relaxed).saturating_sub(rest);
    assert!(growth < MAX_GROWTH_BYTES, "{growth} bytes above {rest}");
}
