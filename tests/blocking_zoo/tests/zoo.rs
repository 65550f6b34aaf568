//! loopscope finds every entry of the zoo, with its line, its cause and its
//! call, and finds nothing else. Stalls under the threshold are not found.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod expected;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use expected::Expected;
use serde_json::Value;

/// How many programs run at the same time. Each of them computes or waits on
/// one thread and has a watchdog.
const CONCURRENT_PROGRAMS: usize = 2;
/// An entry takes less than this on the slowest machine.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn each_file_of_the_entries_folder_is_in_the_list() {
    let listed: BTreeSet<_> = list(&build()).into_iter().collect();
    let files = fs::read_dir(entries()).expect("the entries have a folder");
    let files: BTreeSet<_> = files
        .map(|file| file.expect("the folder is readable").path())
        .map(|path| path.file_stem().expect("a file has a name").to_string_lossy().into_owned())
        .collect();
    let unlisted: Vec<_> = files.difference(&listed).collect();
    let missing: Vec<_> = listed.difference(&files).collect();
    assert!(unlisted.is_empty(), "`entries!` in src/main.rs does not list {unlisted:?}");
    assert!(missing.is_empty(), "src/entries has no file for {missing:?}");
}

#[test]
fn every_way_to_block_is_found_and_named() {
    let outcomes = run_all("10ms", 300);
    println!("{:<22} {:<6} {:<62} {:<62} evidence", "entry", "", "expected", "found");
    let mut wrong = Vec::new();
    for (name, findings) in &outcomes {
        let expected = Expected::read(name, &entries().join(format!("{name}.rs")));
        let fault = expected.compare(findings);
        let result = if fault.is_none() { "found" } else { "WRONG" };
        let first = findings.first().map_or(&Value::Null, |finding| finding);
        println!(
            "{name:<22} {result:<6} {:<62} {:<62} {}",
            expected.to_string(),
            expected::summary(first),
            first["evidence"].as_str().unwrap_or("-")
        );
        wrong.extend(fault.map(|fault| format!("{name}: {fault}\n{}", expected::stacks(findings))));
    }
    println!("{} of {} found", outcomes.len() - wrong.len(), outcomes.len());
    assert!(outcomes.len() >= 50, "the zoo has {} entries", outcomes.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Entries that show each way in which a thread is seen from outside.
const SEEN_FROM_OUTSIDE: [&str; 4] = ["c_sleep", "mutex", "recursive_computation", "tcp_read"];

/// What a watch from outside may miss: it sees each poll from its first look
/// on, and needs two.
#[test]
fn blocking_lines_are_seen_from_outside() {
    let entries = SEEN_FROM_OUTSIDE.map(str::to_owned);
    let (found, missed, wrong) = seen_from_outside(&entries);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(found, entries.len(), "not seen: {missed:?}");
}

#[test]
#[ignore = "it takes minutes"]
fn how_many_blocking_lines_are_seen_from_outside() {
    let entries = list(&build());
    let (found, missed, wrong) = seen_from_outside(&entries);
    println!("{found} of {} seen with their lines; not seen: {missed:?}", entries.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(found >= 70, "{missed:?}");
}

/// Watches entries in which loopscope is off. Returns how many were found, the
/// names of those that were not, and what was wrong.
fn seen_from_outside(entries: &[String]) -> (usize, Vec<String>, Vec<String>) {
    let program = build();
    let (mut found, mut missed, mut wrong) = (0, Vec::new(), Vec::new());
    for name in entries {
        let (findings, has_samples) = run_watched(&program, name, 2_000);
        let expected = Expected::read(name, &self::entries().join(format!("{name}.rs")));
        if findings.is_empty() && !has_samples && expected.to_string().starts_with("cpu") {
            not_checked(&format!("{name} from outside: the kernel refuses samples of threads that compute"));
            found += 1;
            continue;
        }
        match expected.compare(&findings) {
            None => found += 1,
            Some(_) if findings.is_empty() => missed.push(name.clone()),
            Some(fault) => wrong.push(format!("{name}: {fault}\n{}", expected::stacks(&findings))),
        }
    }
    (found, missed, wrong)
}

/// Runs an entry without loopscope in it, and another program that watches it.
/// Returns the findings, and whether the kernel allows samples of computations.
fn run_watched(program: &Path, name: &str, stall_ms: u32) -> (Vec<Value>, bool) {
    let mut target = Command::new(program)
        .args([name, &stall_ms.to_string()])
        .env("LOOPSCOPE", "off")
        .env("ZOO_WAIT", "1")
        .env_remove("RUST_BACKTRACE")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the entry starts");
    let mut watch = Command::new(program)
        .args(["watch", &target.id().to_string()])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the watch starts");
    let mut line = String::new();
    let stderr = watch.stderr.take().expect("it is a pipe");
    BufReader::new(stderr).read_line(&mut line).expect("the watch says that it watches");
    assert!(line.starts_with("watching"), "{line}");
    let has_samples = !line.contains("without samples");
    let mut stdin = target.stdin.take().expect("it is a pipe");
    stdin.write_all(b"\n").expect("the entry reads a line");
    let begin = Instant::now();
    while target.try_wait().expect("the child was started here").is_none() {
        if begin.elapsed() > PROGRAM_TIMEOUT {
            let _ = target.kill();
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = watch.wait_with_output().expect("the watch ends after the entry");
    (serde_json::from_slice(&output.stdout).expect("findings are JSON"), has_samples)
}

#[test]
fn a_stall_under_the_threshold_is_not_a_finding() {
    for (name, findings) in run_all("20s", 50) {
        assert!(findings.is_empty(), "{name}: {findings:#?}");
    }
}

/// Runs every entry as a separate program and returns what each one found.
fn run_all(threshold: &str, stall_ms: u32) -> Vec<(String, Vec<Value>)> {
    // Otherwise the tests of this file would share the CPUs.
    static ONE_TEST_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_TEST_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let program = build();
    let names = list(&program);
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..CONCURRENT_PROGRAMS {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Relaxed)) {
                    let findings = run(&program, name, threshold, stall_ms);
                    outcomes.lock().unwrap().push((name.clone(), findings));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by(|(one, _), (other, _)| one.cmp(other));
    outcomes
}

/// Builds the zoo in release mode, as the stacks of an optimised program are
/// the hard ones to read.
///
/// Cargo builds a dependency again for each set of features. So this selects
/// the default members of the workspace, as the release builds of loadgen and
/// chat-server do: then all of them share their dependencies.
fn build() -> PathBuf {
    static ONE_BUILD_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_BUILD_AT_A_TIME.lock();
    let this = env::current_exe().expect("the test knows its own path");
    let target = this.ancestors().nth(3).expect("target/debug/deps/zoo").to_owned();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--bin", "blocking-zoo", "--target-dir"])
        .arg(&target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .status()
        .expect("cargo runs");
    assert!(built.success(), "the zoo builds");
    target.join("release/blocking-zoo")
}

/// The names of the entries, as the program lists them.
fn list(program: &Path) -> Vec<String> {
    let list = Command::new(program).output().expect("the zoo lists its entries");
    let list = String::from_utf8(list.stdout).expect("names are text");
    list.lines().map(str::to_owned).collect()
}

fn run(program: &Path, name: &str, threshold: &str, stall_ms: u32) -> Vec<Value> {
    let output = env::temp_dir().join(format!("blocking-zoo-{}-{name}-{threshold}", std::process::id()));
    let file = fs::File::create(&output).expect("a file for the output");
    let mut child = Command::new(program)
        .args([name, &stall_ms.to_string()])
        .env("LOOPSCOPE_THRESHOLD", threshold)
        .env_remove("RUST_BACKTRACE")
        // The sources are not below this directory: paths must not depend on
        // the working directory.
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(file)
        .spawn()
        .expect("the entry starts");
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().expect("the child was started here") {
            Some(status) => break status,
            None if begin.elapsed() > PROGRAM_TIMEOUT => {
                let _ = child.kill();
                panic!("{name} did not end");
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let found = fs::read_to_string(&output).expect("the output is there");
    let _ = fs::remove_file(output);
    assert!(status.success(), "{name} failed: {status}");
    serde_json::from_str(&found).expect("findings are JSON")
}

/// Says on stderr what a test did not check: the harness captures what the
/// print macros of a passing test print.
fn not_checked(what: &str) {
    let _ = std::io::stderr().write_all(format!("NOT CHECKED: {what}\n").as_bytes());
}

fn entries() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/entries")
}
