//! What was read, and what was not.

use std::collections::BTreeMap;

use loopscope::attach::PsDocument;
use loopscope::report::printable;

use crate::linux::text::layout::{Emphasis, Page};
use crate::linux::text::words::{bytes, count, thousands, time};

/// How many reasons for missing chains are printed.
const MAX_REASONS: usize = 3;
const MAX_NOTES: usize = 12;

/// Adds the last lines.
pub(super) fn add(document: &PsDocument, page: &mut Page) {
    let coverage = &document.coverage;
    let mut parts = vec![format!(
        "{} of {} consistent",
        thousands(coverage.consistent),
        count(coverage.candidates, "place", "places")
    )];
    if coverage.torn > 0 {
        parts.push(format!("{} inconsistent", thousands(coverage.torn)));
    }
    let cpu = match coverage.cpu_seconds {
        seconds if seconds > 0.0 => format!(" ({} of CPU)", time(seconds)),
        _ => String::new(),
    };
    parts.push(format!("{} searched in {}{cpu}", bytes(coverage.scanned_bytes), time(coverage.seconds)));
    if coverage.skipped_bytes > 0 {
        parts.push(format!("{} not searched", bytes(coverage.skipped_bytes)));
    }
    page.labelled("read", &parts.join(", "));
    for note in nameless(document)
        .into_iter()
        .chain(missing_chains(document))
        .chain(coverage.notes.iter().take(MAX_NOTES).cloned())
    {
        page.below_label(Emphasis::None, &format!("= note: {}", printable(&note)));
    }
}

/// Returns what the kinds of tasks are that have no name.
fn nameless(document: &PsDocument) -> Option<String> {
    let tasks = document.tasks.iter().filter(|task| !task.is_blocking && task.kind.starts_with("0x")).count();
    (tasks > 0).then(|| {
        format!(
            "the kind of {} is known only by the address of the function that polls it: the symbols of the program \
             do not name it, and `debug = \"line-tables-only\"` in the profile of Cargo.toml would",
            count(tasks, "task", "tasks")
        )
    })
}

/// Returns why it is not known where tasks wait, where it is not.
fn missing_chains(document: &PsDocument) -> Vec<String> {
    let mut reasons = BTreeMap::<&str, usize>::new();
    for task in document.tasks.iter().filter(|task| !task.is_blocking) {
        if let Some(reason) = &task.chain_missing {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let sentence = |(reason, n): &(&str, usize)| {
        format!("the chain of awaits of {} is not whole: {reason}", count(*n, "task", "tasks"))
    };
    reasons.iter().take(MAX_REASONS).map(sentence).collect()
}
