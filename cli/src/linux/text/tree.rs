//! The tasks with their chains of awaits. Tasks with the same chain are one
//! group.

use loopscope::attach::{PsDocument, PsTask};
use loopscope::report::printable;

use crate::linux::text::awaits::{self, Awaits};
use crate::linux::text::chain;
use crate::linux::text::kinds;
use crate::linux::text::layout::{Emphasis, Page};
use crate::linux::text::leaf;
use crate::linux::text::words::{count, thousands};

const MAX_GROUPS: usize = 20;

type ChainKey<'a> = (u64, &'a str, Vec<(&'a str, Option<&'a str>, Option<u32>)>, String, Option<&'a str>);

/// Adds all tasks but the jobs of the blocking pool.
pub(super) fn add(document: &PsDocument, page: &mut Page) {
    let tasks: Vec<_> = document.tasks.iter().filter(|task| !task.is_blocking).collect();
    kinds::heading(&tasks, page);
    let lists_all = page.view.lists_all;
    let groups = chain::groups(tasks, |task| key(task, lists_all));
    let shown = if lists_all { groups.len() } else { groups.len().min(MAX_GROUPS) };
    let mut has_chain = true;
    for (_, tasks) in &groups[..shown] {
        // Groups without a chain are lines of one list.
        let had_chain = std::mem::replace(&mut has_chain, tasks.iter().any(|task| is_known(task)));
        if has_chain || had_chain {
            page.blank_line();
        }
        group(tasks, page);
    }
    let rest = &groups[shown..];
    if !rest.is_empty() {
        let tasks = rest.iter().map(|(_, tasks)| tasks.len()).sum();
        let groups = count(rest.len(), "more group", "more groups");
        page.blank_line();
        let text = format!("and {groups} with {}; --all lists them", count(tasks, "task", "tasks"));
        page.indented(0, Emphasis::None, &text);
    }
    page.blank_line();
}

fn key(task: &PsTask, is_each: bool) -> ChainKey<'_> {
    let steps = task.chain.iter().map(|step| (&*step.function, step.file.as_deref(), step.line)).collect();
    let address = if is_each { task.address } else { 0 };
    (address, &task.kind, steps, leaf::key(task.leaf.as_ref()), task.chain_missing.as_deref())
}

/// Returns whether anything is known of what the task awaits.
fn is_known(task: &PsTask) -> bool {
    !task.chain.is_empty() || task.leaf.is_some()
}

fn group(tasks: &[&PsTask], page: &mut Page) {
    let Some(first) = tasks.first() else { return };
    let head = match tasks {
        [task] => format!("{} `{}`", chain::task_name(task), chain::kind(task)),
        _ => format!("{} `{}`", count(tasks.len(), "task", "tasks"), chain::kind(first)),
    };
    if !is_known(first) {
        page.indented(0, Emphasis::None, &format!("{head}: {}", facts(tasks)));
        return;
    }
    let place = chain::place_text(first).map_or(String::new(), |place| format!(" {place}"));
    page.indented(0, Emphasis::Head, &format!("{head}{place}"));
    let awaits: Vec<_> = tasks.iter().map(|task| Awaits::of_task(task)).collect();
    awaits::add(&awaits, 2, page);
    page.indented(2, Emphasis::None, &facts(tasks));
}

/// Returns states, wakers, ids and spawn place of a group.
fn facts(tasks: &[&PsTask]) -> String {
    let wakers = tasks.iter().map(|task| usize::try_from(task.wakers).unwrap_or(usize::MAX));
    let wakers = wakers.fold(0_usize, usize::saturating_add);
    let mut facts = vec![chain::states(tasks, thousands), count(wakers, "waker", "wakers")];
    facts.extend(Some(tasks).filter(|tasks| tasks.len() > 1).and_then(chain::ids));
    let spawned = tasks.first().and_then(|task| task.spawned_at.as_deref());
    if let Some(spawned) =
        spawned.filter(|spawned| tasks.iter().all(|task| task.spawned_at.as_deref() == Some(*spawned)))
    {
        facts.push(format!("spawned at {}", printable(spawned)));
    }
    facts.join("; ")
}
