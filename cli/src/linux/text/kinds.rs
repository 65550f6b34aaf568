//! The tasks, by kind: how many, in which states, and where most of them wait.

use loopscope::attach::{PsDocument, PsTask};
use loopscope::report::width;

use crate::linux::text::chain::{self, Group};
use crate::linux::text::layout::{self, Emphasis, Page};
use crate::linux::text::leaf;
use crate::linux::text::words::{count, thousands};

/// A healthy server has about as many kinds.
const MAX_KINDS: usize = 10;
/// How many places of a kind have a line.
const MAX_PLACES: usize = 2;
/// A kind in fewer columns has a line of its own.
const MIN_KIND_COLUMNS: usize = 24;
const INDENT: usize = 2;

/// Adds all tasks but the jobs of the blocking pool.
pub(super) fn add(document: &PsDocument, page: &mut Page) {
    let tasks: Vec<_> = document.tasks.iter().filter(|task| !task.is_blocking).collect();
    heading(&tasks, page);
    if tasks.is_empty() {
        return;
    }
    if page.view.lists_all {
        each(&tasks, page);
        return;
    }
    let kinds = chain::groups(tasks, chain::kind);
    let shown = kinds.len().min(MAX_KINDS);
    table(&kinds[..shown], page);
    let rest = &kinds[shown..];
    if !rest.is_empty() {
        let tasks = rest.iter().map(|(_, tasks)| tasks.len()).sum();
        let kinds = count(rest.len(), "more kind", "more kinds");
        page.indented(INDENT, Emphasis::None, &format!("and {kinds} with {}", count(tasks, "task", "tasks")));
    }
}

/// Adds the number of tasks in each state.
pub(super) fn heading(tasks: &[&PsTask], page: &mut Page) {
    let text = match tasks.len() {
        0 => "none found".to_owned(),
        n => format!("{}: {}", thousands(n), chain::states(tasks, thousands)),
    };
    page.labelled("tasks", &text);
}

fn table(kinds: &[(String, Group<'_>)], page: &mut Page) {
    let mut rows = vec![["count", "state", "wakers", "oldest id", "kind"].map(str::to_owned)];
    for (kind, tasks) in kinds {
        let wakers = tasks.iter().map(|task| usize::try_from(task.wakers).unwrap_or(usize::MAX));
        let wakers = wakers.fold(0_usize, usize::saturating_add);
        let oldest = tasks.iter().filter_map(|task| task.id).min();
        rows.push([
            thousands(tasks.len()),
            states(tasks),
            thousands(wakers),
            oldest.map_or("-".to_owned(), |id| id.to_string()),
            kind.clone(),
        ]);
    }
    let widths: [usize; 4] =
        std::array::from_fn(|column| rows.iter().map(|row| width(&row[column])).max().unwrap_or(0));
    let [w0, w1, w2, w3] = widths;
    let place_indent = w0 + INDENT + 2;
    let kind_room = page.view.columns.saturating_sub(place_indent + w1 + w2 + w3 + 6);
    for (number, row) in rows.iter().enumerate() {
        let [count, state, wakers, oldest, kind] = row;
        let pad = " ".repeat(w1.saturating_sub(width(state)));
        let figures = format!("{:INDENT$}{count:>w0$}  {state}{pad}  {wakers:>w2$}  {oldest:>w3$}", "");
        let emphasis = if number == 0 { Emphasis::Head } else { Emphasis::None };
        if kind_room >= MIN_KIND_COLUMNS {
            page.cut_line(emphasis, &format!("{figures}  {}", layout::cut_middle(kind, kind_room)));
        } else {
            page.cut_line(emphasis, &figures);
            let kind = layout::cut_middle(kind, page.room(place_indent));
            page.cut_line(emphasis, &format!("{:place_indent$}{kind}", ""));
        }
        if let Some((_, tasks)) = number.checked_sub(1).and_then(|kind| kinds.get(kind)) {
            places(tasks, place_indent, page);
        }
    }
}

/// Returns the states, without the number if all are in one.
fn states(tasks: &[&PsTask]) -> String {
    match tasks.first() {
        Some(first) if tasks.iter().all(|task| task.state == first.state) => {
            chain::state_word(first.state).to_owned()
        }
        _ => chain::states(tasks, thousands),
    }
}

/// Adds where most tasks of a kind wait.
fn places(tasks: &[&PsTask], indent: usize, page: &mut Page) {
    let waiting = tasks.iter().copied().filter(|task| !task.chain.is_empty() || task.leaf.is_some());
    let places = chain::groups(waiting, |task| (chain::place_text(task), leaf::key(task.leaf.as_ref())));
    let is_only = places.len() == 1 && places[0].1.len() == tasks.len();
    for (_, group) in places.iter().take(MAX_PLACES) {
        let n = if is_only { String::new() } else { format!("{} ", thousands(group.len())) };
        let two_lines = 2 * page.room(indent + 2);
        page.indented(indent, Emphasis::Place, &layout::cut(&format!("{n}{}", wait(group)), two_lines));
    }
    if places.len() > MAX_PLACES {
        let rest = places[MAX_PLACES..].iter().map(|(_, group)| group.len()).sum();
        let others = count(places.len() - MAX_PLACES, "other place", "other places");
        page.indented(indent, Emphasis::Place, &format!("{} at {others}", thousands(rest)));
    }
}

/// Returns where tasks of one group wait, and for what.
pub(super) fn wait(tasks: &[&PsTask]) -> String {
    let place = tasks.first().and_then(|task| chain::place_text(task));
    let leaves: Vec<_> = tasks.iter().filter_map(|task| task.leaf.as_ref()).collect();
    match (place, leaf::text(&leaves)) {
        (Some(place), Some(leaf)) => format!("{place}: waits for {leaf}"),
        (Some(place), None) => place,
        (None, Some(leaf)) => format!("waits for {leaf}"),
        (None, None) => "at an unknown place".to_owned(),
    }
}

/// Adds a line for each task.
fn each(tasks: &[&PsTask], page: &mut Page) {
    let id_columns =
        tasks.iter().filter_map(|task| task.id).max().map_or(4, |id| id.to_string().len().max(4));
    let line = format!("{:INDENT$}{:>id_columns$}  state     wakers  kind", "", "id");
    page.cut_line(Emphasis::Head, &line);
    for task in tasks {
        let id = task.id.map_or("-".to_owned(), |id| id.to_string());
        let state = chain::state_word(task.state);
        let kind = chain::kind(task);
        let line = format!("{:INDENT$}{id:>id_columns$}  {state:8}  {:>6}  {kind}", "", task.wakers);
        page.cut_line(Emphasis::None, &line);
        if !task.chain.is_empty() || task.leaf.is_some() {
            let indent = id_columns + INDENT + 2;
            page.cut_line(Emphasis::Place, &format!("{:indent$}{}", "", wait(&[task])));
        }
    }
}
