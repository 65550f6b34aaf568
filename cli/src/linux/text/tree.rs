//! The tasks with their chains of awaits. Tasks with the same chain are one
//! group.

use loopscope::attach::{PsDocument, PsTask};
use loopscope::report::{printable, width};

use crate::linux::text::chain;
use crate::linux::text::kinds;
use crate::linux::text::layout::{self, Emphasis, Page};
use crate::linux::text::leaf;
use crate::linux::text::words::{count, thousands};

const MAX_GROUPS: usize = 20;
/// A deeper chain is cut in its middle.
const MAX_STEPS: usize = 24;
/// Steps further in are not indented further.
const MAX_INDENT: usize = 32;

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
        [task] => format!("{} `{}`", chain::task_name(task), printable(&task.kind)),
        _ => format!("{} `{}`", count(tasks.len(), "task", "tasks"), printable(&first.kind)),
    };
    if !is_known(first) {
        page.indented(0, Emphasis::None, &format!("{head}: {}", facts(tasks)));
        return;
    }
    let place = chain::place_text(first).map_or(String::new(), |place| format!(" {place}"));
    page.indented(0, Emphasis::Head, &format!("{head}{place}"));
    steps(first, page);
    let indent = 2 + (2 * first.chain.len()).min(MAX_INDENT);
    if let Some(leaf) = leaf::text(tasks) {
        page.indented(indent, Emphasis::Place, &format!("waits for {leaf}"));
    }
    if let Some(missing) = &first.chain_missing {
        page.indented(indent, Emphasis::None, &format!("not known further: {}", printable(missing)));
    }
    page.indented(2, Emphasis::None, &facts(tasks));
}

fn steps(task: &PsTask, page: &mut Page) {
    let length = task.chain.len();
    let left_out = length.saturating_sub(MAX_STEPS);
    for (depth, step) in task.chain.iter().enumerate() {
        if left_out > 0 && depth == MAX_STEPS / 2 {
            let text = format!(
                "{:indent$}… {}",
                "",
                count(left_out, "more await", "more awaits"),
                indent = 2 + 2 * depth
            );
            page.cut_line(Emphasis::None, &text);
        }
        if left_out > 0 && (MAX_STEPS / 2..MAX_STEPS / 2 + left_out).contains(&depth) {
            continue;
        }
        let indent = 2 + (2 * depth).min(MAX_INDENT);
        let function = printable(&step.function);
        let line = match chain::location(step) {
            Some(location) => {
                let room = page.room(indent);
                let location = layout::cut_middle(&location, room / 2);
                let function_room = room.saturating_sub(width(&location) + 4);
                format!("{} at {location}", layout::cut(&function, function_room))
            }
            None => function,
        };
        page.cut_line(Emphasis::None, &format!("{:indent$}{line}", ""));
    }
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
