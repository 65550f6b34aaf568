//! What is wrong, drawn as the library draws findings.

use annotate_snippets::{Group, Level, Origin, Renderer};
use loopscope::attach::{PsAwait, PsDocument, PsRoot, PsTask, PsThread, PsVerdict, PsVerdictKind};
use loopscope::report::{printable, width, wrapped};

use crate::linux::text::chain;
use crate::linux::text::layout::Page;
use crate::linux::text::threads;
use crate::linux::text::words::{count, thousands};

/// How many verdicts are drawn.
const MAX_VERDICTS: usize = 5;
/// How many tasks and threads of a verdict are named.
const MAX_NAMED: usize = 3;
/// Text has at least this width, however long the name before it is.
const MIN_TEXT_COLUMNS: usize = 20;

const FUTURELOCK_HELP: &str = "a future that was polled once must be polled until it ends, or be dropped: spawn it as \
     a task, or drop it before the branch of `select!` awaits what it may hold";

/// Adds the verdicts, the certain ones first.
pub(super) fn add(document: &PsDocument, page: &mut Page) {
    let mut verdicts: Vec<_> = document.verdicts.iter().collect();
    verdicts.sort_by_key(|verdict| !verdict.is_certain);
    if verdicts.is_empty() {
        return;
    }
    page.blank_line();
    let shown = if page.view.lists_all { verdicts.len() } else { verdicts.len().min(MAX_VERDICTS) };
    for verdict in &verdicts[..shown] {
        let text = drawn(verdict, document, page);
        page.verbatim(&text);
        page.blank_line();
    }
    if shown < verdicts.len() {
        let more = count(verdicts.len() - shown, "more verdict", "more verdicts");
        page.title(&format!("and {more}; --all lists them"));
        page.blank_line();
    }
}

fn drawn(verdict: &PsVerdict, document: &PsDocument, page: &Page) -> String {
    let (level, word) =
        if verdict.is_certain { (Level::ERROR, "error") } else { (Level::WARNING, "warning") };
    let id = format!("loopscope::{}", name(verdict.kind));
    let reason = printable(&verdict.reason);
    let reason = if verdict.is_certain { reason } else { format!("suspected: {reason}") };
    let columns = page.view.columns;
    let room = |prefix: &str| columns.saturating_sub(width(prefix)).max(MIN_TEXT_COLUMNS);
    let title = wrapped(&reason, room(&format!("{word}[{id}]: ")));
    let tasks: Vec<_> = verdict.tasks.iter().filter_map(|address| task(document, *address)).collect();
    let threads: Vec<_> = verdict.threads.iter().filter_map(|tid| thread(document, *tid)).collect();

    let mut group = Group::with_title(level.primary_title(title).id(id));
    // A future that waits does so elsewhere than where `block_on` was called.
    let is_futurelock = verdict.kind == PsVerdictKind::Futurelock;
    let is_of_verdict = |root: &&PsRoot| is_futurelock && verdict.threads.contains(&root.tid);
    let root = document.roots.iter().find(is_of_verdict);
    let place = root.and_then(|root| chain::place_in(&root.chain));
    if let Some(origin) = place.and_then(origin_of).or_else(|| origin(&tasks, &threads)) {
        group = group.element(origin);
    }
    let mut notes = Vec::new();
    notes.extend(root.zip(place).map(|(root, place)| {
        ("future", format!("`{}`, {}", printable(&root.kind), chain::at(place, &root.kind)))
    }));
    let groups = chain::groups(tasks.iter().copied(), |task| (&task.kind, chain::place_text(task)));
    notes.extend(
        groups
            .iter()
            .take(MAX_NAMED)
            .map(|(_, tasks)| (if tasks.len() == 1 { "task" } else { "tasks" }, tasks_text(tasks))),
    );
    let rest = groups.iter().skip(MAX_NAMED).map(|(_, tasks)| tasks.len()).sum::<usize>();
    if rest > 0 {
        notes.push(("tasks", format!("and {} more", thousands(rest))));
    }
    notes.extend(threads.iter().take(MAX_NAMED).map(|thread| ("thread", thread_text(thread))));
    if verdict.threads.len() > MAX_NAMED {
        notes.push(("thread", format!("and {} more", thousands(verdict.threads.len() - MAX_NAMED))));
    }
    let help = threads.iter().find_map(|thread| thread.advice.as_deref());
    let help = help.or(is_futurelock.then_some(FUTURELOCK_HELP));
    notes.extend(help.map(|help| ("help", printable(help))));
    for (name, text) in notes {
        let text = wrapped(&text, room(&format!("  = {name}: ")));
        group = group.element(Level::NOTE.with_name(name).message(text));
    }
    let renderer = if page.view.has_color { Renderer::styled() } else { Renderer::plain() };
    let mut text = renderer.term_width(columns).render(&[group]);
    text.push('\n');
    text
}

/// Returns the line of the first thread, else of the first task, that has one.
fn origin(tasks: &[&PsTask], threads: &[&PsThread]) -> Option<Origin<'static>> {
    let of_threads =
        threads.iter().filter_map(|thread| thread.site.as_ref()).map(|site| (&site.file, site.line));
    let of_tasks = tasks.iter().filter_map(|task| chain::place(task)).map(|step| (&step.file, step.line));
    let (file, line) = of_threads.chain(of_tasks).find_map(|(file, line)| Some((file.as_ref()?, line?)))?;
    at_line(file, line)
}

fn origin_of(step: &PsAwait) -> Option<Origin<'static>> {
    at_line(step.file.as_ref()?, step.line?)
}

fn at_line(file: &str, line: u32) -> Option<Origin<'static>> {
    let line = usize::try_from(line).ok().filter(|line| *line > 0)?;
    Some(Origin::path(printable(file)).line(line))
}

/// Names tasks of one kind at one place.
fn tasks_text(tasks: &[&PsTask]) -> String {
    let Some(first) = tasks.first() else { return String::new() };
    let mut text = match tasks {
        [task] => {
            let name = chain::task_name(task);
            format!("{} `{}`", name.strip_prefix("task ").unwrap_or(&name), chain::kind(task))
        }
        _ => format!("{} `{}`", thousands(tasks.len()), chain::kind(first)),
    };
    if let Some(ids) = Some(tasks).filter(|tasks| tasks.len() > 1).and_then(chain::ids) {
        text.push_str(&format!(" ({ids})"));
    }
    if let Some(place) = chain::place_text(first) {
        text.push_str(&format!(", {place}"));
    }
    let spawned = first.spawned_at.as_deref();
    if let Some(spawned) = spawned.filter(|_| tasks.iter().all(|task| task.spawned_at == first.spawned_at)) {
        text.push_str(&format!(", spawned at {}", printable(spawned)));
    }
    text
}

fn thread_text(thread: &PsThread) -> String {
    format!("{} {}, {}", thread.tid, printable(&thread.name), threads::place(thread))
}

fn task(document: &PsDocument, address: u64) -> Option<&PsTask> {
    document.tasks.iter().find(|task| task.address == address)
}

fn thread(document: &PsDocument, tid: i32) -> Option<&PsThread> {
    document.threads.iter().find(|thread| thread.tid == tid)
}

fn name(kind: PsVerdictKind) -> &'static str {
    match kind {
        PsVerdictKind::BlockedWorker => "blocked_worker",
        PsVerdictKind::BlockedRuntime => "blocked_runtime",
        PsVerdictKind::NeverWoken => "never_woken",
        PsVerdictKind::NotScheduled => "not_scheduled",
        PsVerdictKind::Futurelock => "futurelock",
        PsVerdictKind::Cycle => "cycle",
        PsVerdictKind::LockQueue => "lock_queue",
        PsVerdictKind::PoolFull => "pool_full",
        PsVerdictKind::Stopped => "stopped",
        _ => "other",
    }
}
