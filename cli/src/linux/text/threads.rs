//! The threads of the runtimes: what they do, and where the busy ones are.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use loopscope::attach::{PsDocument, PsRole, PsTask, PsTaskState, PsThread, PsThreadState};
use loopscope::report::printable;

use crate::linux::text::chain;
use crate::linux::text::layout::{Emphasis, Page};
use crate::linux::text::roots;
use crate::linux::text::words::{count, thousands, time};

/// How many places of threads of one role have lines.
const MAX_PLACES: usize = 6;
/// The function of Tokio that starts a worker.
const WORKER_JOB: &str = "tokio::runtime::scheduler::multi_thread";

/// Adds the threads by role.
pub(super) fn add(document: &PsDocument, page: &mut Page) {
    let of_role =
        |role| document.threads.iter().filter(move |thread| thread.role == role).collect::<Vec<_>>();
    for (label, role) in [
        ("workers", PsRole::Worker),
        ("block_on", PsRole::BlockOn),
        ("role unknown", PsRole::Runtime),
        ("blocking pool", PsRole::Blocking),
    ] {
        let threads = of_role(role);
        let jobs = if role == PsRole::Blocking { jobs(document) } else { None };
        if threads.is_empty() && jobs.is_none() {
            continue;
        }
        let states = states(&threads, role);
        let text = [Some(states).filter(|text| !text.is_empty()), jobs];
        page.labelled(label, &text.into_iter().flatten().collect::<Vec<_>>().join("; "));
        places(&threads, document, page);
        if role == PsRole::BlockOn && !page.view.is_tree {
            roots::add_lines(document, page);
        }
    }
    let has_no_block_on = of_role(PsRole::BlockOn).is_empty();
    if has_no_block_on && !page.view.is_tree && !document.roots.is_empty() {
        page.labelled("block_on", "within jobs of the blocking pool");
        roots::add_lines(document, page);
    }
    let others = of_role(PsRole::Other);
    if !others.is_empty() {
        let threads = count(others.len(), "other thread", "other threads");
        let text = format!("{threads} without a runtime on the stack");
        page.labelled("threads", &text);
        if page.view.lists_all {
            places(&others, document, page);
        }
    }
}

/// Returns how many jobs of the blocking pool there are. Tokio starts each
/// worker as such a job; without names, as many running jobs as there are
/// workers are taken for them.
fn jobs(document: &PsDocument) -> Option<String> {
    let jobs: Vec<_> = document.tasks.iter().filter(|task| task.is_blocking).collect();
    let named = jobs.iter().filter(|job| job.kind.starts_with(WORKER_JOB)).count();
    let nameless = jobs.iter().filter(|job| job.state == PsTaskState::Running && job.kind.starts_with("0x"));
    let workers = document.threads.iter().filter(|thread| thread.role == PsRole::Worker).count();
    let nameless = nameless.count();
    let of_workers = named + nameless.min(workers.saturating_sub(named));
    let jobs = jobs.len().saturating_sub(of_workers);
    // Without symbols, workers are not known either.
    let unknown = document.threads.iter().filter(|thread| thread.role == PsRole::Runtime).count();
    let perhaps_workers = nameless.saturating_sub(of_workers.saturating_sub(named)).min(unknown).min(jobs);
    (jobs > 0).then(|| {
        let text = count(jobs, "job queued or running", "jobs queued or running");
        match perhaps_workers {
            0 => text,
            n => format!("{text}, of which {} may be workers", thousands(n)),
        }
    })
}

fn states(threads: &[&PsThread], role: PsRole) -> String {
    let mut numbers = BTreeMap::<PsThreadState, usize>::new();
    for thread in threads {
        *numbers.entry(thread.state).or_default() += 1;
    }
    let states = numbers.iter().map(|(state, n)| format!("{} {}", thousands(*n), word(*state, role)));
    let states = states.collect::<Vec<_>>().join(", ");
    if threads.is_empty() { states } else { format!("{}: {states}", thousands(threads.len())) }
}

fn word(state: PsThreadState, role: PsRole) -> &'static str {
    match state {
        PsThreadState::Parked if role == PsRole::Blocking => "idle",
        PsThreadState::Parked => "parked",
        PsThreadState::DrivingIo => "driving I/O",
        PsThreadState::Blocked => "blocked",
        PsThreadState::Polling => "in a poll",
        PsThreadState::Running => "running",
        PsThreadState::Waiting => "waiting in a call",
        _ => "in an unknown state",
    }
}

/// What makes two threads do the same.
type PlaceKey = (Reverse<bool>, PsThreadState, String, Option<String>, Option<u64>);

/// Adds a line for each place where threads are that do something.
fn places(threads: &[&PsThread], document: &PsDocument, page: &mut Page) {
    let is_busy = |thread: &&&PsThread| {
        let is_idle =
            matches!(thread.state, PsThreadState::Parked | PsThreadState::DrivingIo | PsThreadState::Unknown);
        !is_idle && (thread.site.is_some() || !thread.stack.is_empty() || thread.call.is_some())
    };
    let mut groups = BTreeMap::<PlaceKey, Vec<&PsThread>>::new();
    for thread in threads.iter().filter(is_busy) {
        let is_blocked = thread.state == PsThreadState::Blocked;
        let key = (Reverse(is_blocked), thread.state, place(thread), thread.call.clone(), thread.task);
        groups.entry(key).or_default().push(thread);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| (group[0].state != PsThreadState::Blocked, Reverse(group.len())));
    let shown = if page.view.lists_all { groups.len() } else { groups.len().min(MAX_PLACES) };
    for group in &groups[..shown] {
        line(group, document, page);
    }
    if shown < groups.len() {
        let threads = groups[shown..].iter().map(Vec::len).sum();
        let places = count(groups.len() - shown, "other place", "other places");
        page.below_label(Emphasis::None, &format!("{} at {places}", count(threads, "thread", "threads")));
    }
}

fn line(group: &[&PsThread], document: &PsDocument, page: &mut Page) {
    let Some(first) = group.first() else { return };
    let mut text = match (group.len(), page.view.lists_all) {
        (1, true) => format!("{} ", printable(&first.name)),
        (1, false) => String::new(),
        (n, _) => format!("{} ", thousands(n)),
    };
    text.push_str(word(first.state, first.role));
    let seconds = group.iter().filter_map(|thread| thread.seconds).reduce(f64::max);
    if let Some(seconds) = seconds {
        text.push_str(&format!(" for at least {}", time(seconds)));
    }
    text.push(' ');
    text.push_str(&place(first));
    if let Some(call) = &first.call {
        let object =
            first.object.as_deref().map_or(String::new(), |object| format!(" of {}", printable(object)));
        text.push_str(&format!(": {}{object}", printable(call)));
    }
    if let Some(task) = first.task.and_then(|address| task(document, address)) {
        text.push_str(&format!("; it polls {} `{}`", chain::task_name(task), printable(&task.kind)));
    }
    let is_blocked = first.state == PsThreadState::Blocked;
    page.below_label(if is_blocked { Emphasis::Alert } else { Emphasis::Place }, &text);
    let is_in_verdict = document.verdicts.iter().any(|verdict| verdict.threads.contains(&first.tid));
    if let Some(help) = first.advice.as_deref().filter(|_| is_blocked && !is_in_verdict) {
        page.below_label(Emphasis::None, &format!("= help: {}", printable(help)));
    }
}

fn task(document: &PsDocument, address: u64) -> Option<&PsTask> {
    document.tasks.iter().find(|task| task.address == address)
}

/// Returns where a thread is, as far as its stack shows.
pub(super) fn place(thread: &PsThread) -> String {
    let Some(frame) = thread.site.as_ref().or(thread.stack.first()) else {
        return "at an unknown line".to_owned();
    };
    let function = printable(&frame.function);
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("at {}:{line} in `{function}`", printable(file)),
        _ => format!("in `{function}`"),
    }
}
