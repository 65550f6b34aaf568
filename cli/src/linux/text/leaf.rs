//! What the innermost await of tasks waits for.

use std::collections::BTreeSet;

use loopscope::attach::{PsAwait, PsBranch, PsLeaf};
use loopscope::report::printable;

use crate::linux::text::words::{count, thousands, time};

/// How many objects or tasks are named.
const MAX_NAMED: usize = 3;

/// Returns the key by which leaves are the same for people: addresses,
/// descriptors and times do not matter.
pub(super) fn key(leaf: Option<&PsLeaf>) -> String {
    match leaf {
        None => String::new(),
        Some(PsLeaf::Sleep { .. }) => "sleep".to_owned(),
        Some(PsLeaf::Semaphore { of, is_granted, .. }) => {
            format!("semaphore {} {is_granted:?}", of.as_deref().unwrap_or_default())
        }
        Some(PsLeaf::Channel { of, .. }) => format!("channel {of}"),
        Some(PsLeaf::Join { .. }) => "join".to_owned(),
        Some(PsLeaf::Io { .. }) => "io".to_owned(),
        Some(PsLeaf::Notify { .. }) => "notify".to_owned(),
        Some(PsLeaf::Several { of, branches, .. }) => {
            let step = |step: &PsAwait| format!("{} {:?} {:?}", step.function, step.file, step.line);
            let branch = |branch: &PsBranch| {
                let chain = branch.chain.iter().map(step).collect::<Vec<_>>().join(", ");
                format!("({chain}; {})", key(branch.leaf.as_ref()))
            };
            format!("several {of} {}", branches.iter().map(branch).collect::<String>())
        }
        Some(PsLeaf::Other { of }) => format!("other {of}"),
        Some(_) => "unknown".to_owned(),
    }
}

/// Returns what tasks with the same key wait for. `None` if it is not known.
pub(super) fn text(leaves: &[&PsLeaf]) -> Option<String> {
    Some(match leaves.first()? {
        PsLeaf::Sleep { .. } => timers(leaves),
        PsLeaf::Semaphore { of, is_granted, .. } => {
            let of = of.as_deref().map_or("a semaphore".to_owned(), |of| format!("`{}`", printable(of)));
            let granted = if *is_granted == Some(true) { ", which was granted but not taken" } else { "" };
            format!("a permit of {of}{granted}{}", objects(leaves))
        }
        PsLeaf::Channel { of, .. } => format!("a message of `{}`{}", printable(of), objects(leaves)),
        PsLeaf::Join { .. } => joined(leaves),
        PsLeaf::Io { .. } => io(leaves),
        PsLeaf::Notify { .. } => format!("a notification{}", objects(leaves)),
        PsLeaf::Several { of, .. } => format!("{} in `{}`", futures(leaves), printable(of)),
        PsLeaf::Other { of } => format!("`{}`", printable(of)),
        _ => return None,
    })
}

/// Returns how many futures each of several tasks waits for.
fn futures(leaves: &[&PsLeaf]) -> String {
    let counts = leaves.iter().map(|leaf| match leaf {
        PsLeaf::Several { count, .. } => *count,
        _ => None,
    });
    let counts: Option<BTreeSet<_>> = counts.collect();
    match counts.as_ref().and_then(|counts| counts.first().zip(counts.last())) {
        Some((least, most)) if least == most => count(*least, "future", "futures"),
        Some((least, most)) => format!("{least} to {most} futures"),
        None => "several futures".to_owned(),
    }
}

fn timers(leaves: &[&PsLeaf]) -> String {
    let seconds = leaves.iter().filter_map(|leaf| match leaf {
        PsLeaf::Sleep { seconds_left } => *seconds_left,
        _ => None,
    });
    let seconds: Vec<f64> = seconds.filter(|seconds| seconds.is_finite()).collect();
    let noun = if leaves.len() == 1 { "a timer" } else { "timers" };
    let (Some(min), Some(max)) =
        (seconds.iter().copied().reduce(f64::min), seconds.iter().copied().reduce(f64::max))
    else {
        return noun.to_owned();
    };
    let due = |seconds: f64| match seconds {
        seconds if seconds < 0.0 => format!("{} ago", time(-seconds)),
        seconds => format!("in {}", time(seconds)),
    };
    match (due(min), due(max)) {
        (first, last) if first == last => format!("{noun}, due {first}"),
        (first, last) if min < 0.0 => format!("{noun}, due from {first} to {last}"),
        (first, _) => format!("{noun}, due {first} to {}", time(max)),
    }
}

/// Says whether several tasks wait for one object or for several.
fn objects(leaves: &[&PsLeaf]) -> String {
    let address = |leaf: &&PsLeaf| match leaf {
        PsLeaf::Semaphore { address, .. } => Some(*address),
        PsLeaf::Channel { address, .. } | PsLeaf::Notify { address } => *address,
        _ => None,
    };
    let known: Vec<_> = leaves.iter().filter_map(address).collect();
    let distinct: BTreeSet<_> = known.iter().collect();
    match distinct.first() {
        Some(address) if leaves.len() == 1 => format!(" at {address:#x}"),
        Some(address) if distinct.len() == 1 && known.len() == leaves.len() => {
            format!(", all of one at {address:#x}")
        }
        Some(_) if known.len() == leaves.len() => {
            format!(", of {}", count(distinct.len(), "object", "objects"))
        }
        _ => String::new(),
    }
}

fn joined(leaves: &[&PsLeaf]) -> String {
    let tasks = leaves.iter().filter_map(|leaf| match leaf {
        PsLeaf::Join { task } => Some(*task),
        _ => None,
    });
    let tasks: BTreeSet<_> = tasks.collect();
    match tasks.first() {
        Some(task) if tasks.len() == 1 => format!("the end of the task at {task:#x}"),
        _ => format!("the end of {}", count(tasks.len(), "other task", "other tasks")),
    }
}

fn io(leaves: &[&PsLeaf]) -> String {
    let names = leaves.iter().filter_map(|leaf| match leaf {
        PsLeaf::Io { object: Some(object), .. } => Some(printable(object)),
        PsLeaf::Io { fd: Some(fd), .. } => Some(format!("descriptor {fd}")),
        _ => None,
    });
    let names: BTreeSet<_> = names.collect();
    if names.is_empty() {
        return "I/O".to_owned();
    }
    let mut text = names.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMED {
        text.push_str(&format!(" and {} more", thousands(names.len() - MAX_NAMED)));
    }
    format!("I/O: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_say_when_they_are_due() {
        let sleep = |seconds_left| PsLeaf::Sleep { seconds_left };
        let text = |leaves: &[PsLeaf]| timers(&leaves.iter().collect::<Vec<_>>());
        assert_eq!(text(&[sleep(None)]), "a timer");
        assert_eq!(text(&[sleep(Some(1.5))]), "a timer, due in 1.5 s");
        assert_eq!(text(&[sleep(Some(-0.5)), sleep(Some(30.0))]), "timers, due from 500 ms ago to in 30 s");
        assert_eq!(text(&[sleep(Some(0.5)), sleep(Some(30.0))]), "timers, due in 500 ms to 30 s");
        assert_eq!(text(&[sleep(Some(f64::NAN)), sleep(Some(f64::INFINITY))]), "timers");
    }

    #[test]
    fn different_counts_of_futures_are_a_range() {
        let several = |count| PsLeaf::Several { of: "JoinSet".to_owned(), count, branches: Vec::new() };
        let text = |leaves: &[PsLeaf]| text(&leaves.iter().collect::<Vec<_>>());
        assert_eq!(text(&[several(Some(1))]).as_deref(), Some("1 future in `JoinSet`"));
        assert_eq!(text(&[several(Some(3)), several(Some(3))]).as_deref(), Some("3 futures in `JoinSet`"));
        assert_eq!(
            text(&[several(Some(3)), several(Some(1))]).as_deref(),
            Some("1 to 3 futures in `JoinSet`")
        );
        assert_eq!(text(&[several(Some(3)), several(None)]).as_deref(), Some("several futures in `JoinSet`"));
    }
}
