//! Where a task waits: the place in its chain of awaits that matters.

use std::collections::BTreeMap;

use loopscope::attach::{PsAwait, PsTask, PsTaskState};
use loopscope::report::printable;

/// Crates whose functions are not the application's, where the path of the file
/// does not show it.
const LIBRARY_CRATES: [&str; 12] = [
    "tokio",
    "std",
    "core",
    "alloc",
    "futures",
    "futures_util",
    "futures_core",
    "tracing",
    "hyper",
    "hyper_util",
    "tower",
    "tokio_util",
];

/// How many ids of a group are printed.
const MAX_IDS: usize = 5;

/// Tasks that a line of text is about.
pub(super) type Group<'a> = Vec<&'a PsTask>;

/// Returns the groups of equal keys, the largest first. Equally large ones are
/// in the order of their keys.
pub(super) fn groups<'a, K: Ord>(
    tasks: impl IntoIterator<Item = &'a PsTask>,
    key: impl Fn(&'a PsTask) -> K,
) -> Vec<(K, Group<'a>)> {
    let mut groups = BTreeMap::<K, Group<'a>>::new();
    for task in tasks {
        groups.entry(key(task)).or_default().push(task);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, tasks)| std::cmp::Reverse(tasks.len()));
    groups
}

/// Returns the place where a task waits: the innermost await of the
/// application, else the innermost one with a line, else the innermost one.
/// `None` without a chain.
pub(super) fn place(task: &PsTask) -> Option<&PsAwait> {
    place_in(&task.chain)
}

/// Returns that place of a chain.
pub(super) fn place_in(chain: &[PsAwait]) -> Option<&PsAwait> {
    let with_line = || chain.iter().rev().filter(|step| step.line.is_some());
    with_line().find(|step| is_of_application(step)).or_else(|| with_line().next()).or_else(|| chain.last())
}

/// Returns whether an await is in the application's own code, as far as its
/// file and name show.
fn is_of_application(step: &PsAwait) -> bool {
    let file = step.file.as_deref().unwrap_or_default();
    let package = file.split('/').next().unwrap_or_default();
    let has_version = package.rsplit_once('-').is_some_and(|(_, version)| {
        version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.')
    });
    let is_library_file =
        has_version || package == "library" || file.contains("/.cargo/") || file.starts_with("/rustc/");
    let path = step.function.trim_start_matches(['<', '&']);
    let crate_name = path.split("::").next().unwrap_or_default();
    !is_library_file && !LIBRARY_CRATES.contains(&crate_name)
}

/// Returns `file:line` of an await, or what is known of it.
pub(super) fn location(step: &PsAwait) -> Option<String> {
    let file = printable(step.file.as_deref()?);
    Some(match step.line {
        Some(line) => format!("{file}:{line}"),
        None => file,
    })
}

/// Returns `at file:line in `function`` for an await of a task of this kind.
/// The function is left out if the kind is its name.
pub(super) fn at(step: &PsAwait, kind: &str) -> String {
    let function = printable(&step.function);
    match location(step) {
        Some(location) if step.function == kind => format!("at {location}"),
        Some(location) => format!("at {location} in `{function}`"),
        None => format!("in `{function}`"),
    }
}

/// Returns the kind of a task for people. In a program without names, the
/// place of the spawn says more than an address.
pub(super) fn kind(task: &PsTask) -> String {
    match &task.spawned_at {
        Some(spawned_at) if task.kind.starts_with("0x") => format!("spawned at {}", printable(spawned_at)),
        _ => printable(&task.kind),
    }
}

/// Returns where tasks of one kind wait at the same place.
pub(super) fn place_text(task: &PsTask) -> Option<String> {
    place(task).map(|step| at(step, &task.kind))
}

/// Returns the states of tasks with their numbers: `4,800 idle, 12 notified`.
pub(super) fn states(tasks: &[&PsTask], count: impl Fn(usize) -> String) -> String {
    let order = [PsTaskState::Idle, PsTaskState::Notified, PsTaskState::Running, PsTaskState::Complete];
    let states = order.into_iter().filter_map(|state| {
        let n = tasks.iter().filter(|task| task.state == state).count();
        (n > 0).then(|| (n, state_word(state)))
    });
    let states: Vec<_> = states.collect();
    match &states[..] {
        [(n, word)] if *n == tasks.len() && *n == 1 => (*word).to_owned(),
        _ => states.iter().map(|(n, word)| format!("{} {word}", count(*n))).collect::<Vec<_>>().join(", "),
    }
}

pub(super) fn state_word(state: PsTaskState) -> &'static str {
    match state {
        PsTaskState::Idle => "idle",
        PsTaskState::Notified => "notified",
        PsTaskState::Running => "running",
        PsTaskState::Complete => "complete",
        _ => "in another state",
    }
}

/// Returns the ids of tasks, the first ones only: `ids 1, 2, 3, …`.
pub(super) fn ids(tasks: &[&PsTask]) -> Option<String> {
    let mut ids: Vec<_> = tasks.iter().filter_map(|task| task.id).collect();
    ids.sort_unstable();
    let shown = ids.iter().take(MAX_IDS).map(u64::to_string).collect::<Vec<_>>().join(", ");
    let more = if ids.len() > MAX_IDS { ", …" } else { "" };
    (!ids.is_empty()).then(|| format!("ids {shown}{more}"))
}

/// Returns the name of a task for people: its id, or the address of its header.
pub(super) fn task_name(task: &PsTask) -> String {
    match task.id {
        Some(id) => format!("task {id}"),
        None => format!("the task at {:#x}", task.address),
    }
}
