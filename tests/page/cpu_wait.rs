//! How long this test and its browser waited for a CPU.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Returns the total time in which the threads of this process and of its
/// descendants waited for a CPU. The tests add it to their time limits: other
/// work on the machine delays the page. Work with the scheduling policy `idle`
/// delays nothing, so it makes no limit longer.
pub(crate) fn cpu_wait() -> Duration {
    let parents: Vec<_> = names(Path::new("/proc")).filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut family = vec![std::process::id()];
    let mut next = 0;
    while let Some(&process) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == process).map(|(pid, _)| pid));
        next += 1;
    }
    let nanoseconds = family.into_iter().flat_map(waits_of_threads).sum();
    Duration::from_nanos(nanoseconds)
}

/// Returns those names in a folder that are numbers.
fn names(folder: &Path) -> impl Iterator<Item = u32> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent(process: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program, in brackets, may have spaces.
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the nanoseconds that each thread waited for a CPU so far.
fn waits_of_threads(process: u32) -> impl Iterator<Item = u64> {
    let threads = format!("/proc/{process}/task");
    names(Path::new(&threads)).filter_map(move |thread| {
        let text = fs::read_to_string(format!("{threads}/{thread}/schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse().ok()
    })
}
