//! The state of a process as text: `loopscope ps`.
//!
//! Everything that comes from the process passes through
//! [`printable`](loopscope::report::printable) before it is printed.

mod awaits;
mod chain;
mod coverage;
mod kinds;
mod layout;
mod leaf;
mod roots;
#[cfg(test)]
mod tests;
mod threads;
mod tree;
mod verdicts;
mod view;
mod words;

use std::path::Path;

use loopscope::attach::{PsDocument, PsRole, PsRuntime, PsRuntimeKind};
use loopscope::report::printable;

use crate::linux::text::layout::Page;
pub(crate) use crate::linux::text::view::View;
use crate::linux::text::words::{count, thousands};

/// In fewer columns, nothing can be read.
pub(crate) const MIN_COLUMNS: usize = 40;
/// How many runtimes have a line.
const MAX_RUNTIMES: usize = 8;

/// Returns the state of the process as text.
pub(crate) fn text(document: &PsDocument, view: &View) -> String {
    let mut page = Page::new(*view);
    head(document, &mut page);
    verdicts::add(document, &mut page);
    threads::add(document, &mut page);
    if view.is_tree {
        roots::add_chains(document, &mut page);
        tree::add(document, &mut page);
    } else {
        kinds::add(document, &mut page);
    }
    coverage::add(document, &mut page);
    page.text()
}

fn head(document: &PsDocument, page: &mut Page) {
    let program = Path::new(&document.program);
    let name = program.file_name().map_or(document.program.as_str().into(), |name| name.to_string_lossy());
    let runtimes = &document.runtimes;
    let summary = match &runtimes[..] {
        [] => without_tasks(document),
        [runtime] => one_runtime(runtime),
        _ => count(runtimes.len(), "runtime", "runtimes"),
    };
    page.title(&format!("{} (process {}): {summary}", printable(&name), document.pid));
    if runtimes.len() > 1 {
        for (number, runtime) in runtimes.iter().take(MAX_RUNTIMES).enumerate() {
            page.labelled(if number == 0 { "runtimes" } else { "" }, &one_runtime(runtime));
        }
        if runtimes.len() > MAX_RUNTIMES {
            page.labelled("", &format!("and {} more", thousands(runtimes.len() - MAX_RUNTIMES)));
        }
    }
}

/// Returns what is known of the runtimes if there are no tasks.
fn without_tasks(document: &PsDocument) -> String {
    let threads = |role| document.threads.iter().filter(|thread| thread.role == role).count();
    match (threads(PsRole::Worker), threads(PsRole::BlockOn)) {
        (0, 0) => "no runtime with tasks was found".to_owned(),
        (0, roots) => format!("{} in `block_on`, and no task", count(roots, "thread", "threads")),
        (workers, _) => format!("{}, and no task", count(workers, "worker", "workers")),
    }
}

fn one_runtime(runtime: &PsRuntime) -> String {
    let kind = match runtime.kind {
        PsRuntimeKind::MultiThread => "a multi-thread runtime",
        PsRuntimeKind::CurrentThread => "a current-thread runtime",
        PsRuntimeKind::LocalSet => "a LocalSet",
        _ => "a runtime",
    };
    let tasks = count(runtime.tasks, "task", "tasks");
    match runtime.workers {
        Some(workers) => format!("{kind} with {} and {tasks}", count(workers, "worker", "workers")),
        None => format!("{kind} with {tasks}"),
    }
}
