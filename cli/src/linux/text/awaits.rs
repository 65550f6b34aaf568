//! A chain of awaits, step by step, with the branches of what waits for several
//! futures at once.

use loopscope::attach::{PsAwait, PsBranch, PsLeaf, PsRoot, PsTask};
use loopscope::report::{printable, width};

use crate::linux::text::chain;
use crate::linux::text::layout::{self, Emphasis, Page};
use crate::linux::text::leaf;
use crate::linux::text::words::count;

/// A deeper chain is cut in its middle.
const MAX_STEPS: usize = 24;
/// Steps further in are not indented further.
const MAX_INDENT: usize = 32;
/// How many branches of one await are printed.
const MAX_BRANCHES: usize = 8;

/// What a task, or one of its branches, awaits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaits<'a> {
    chain: &'a [PsAwait],
    leaf: Option<&'a PsLeaf>,
    missing: Option<&'a str>,
}

impl<'a> Awaits<'a> {
    pub(super) fn of_task(task: &'a PsTask) -> Self {
        Self { chain: &task.chain, leaf: task.leaf.as_ref(), missing: task.chain_missing.as_deref() }
    }

    pub(super) fn of_root(root: &'a PsRoot) -> Self {
        Self { chain: &root.chain, leaf: root.leaf.as_ref(), missing: root.chain_missing.as_deref() }
    }

    fn branches(self) -> Vec<Self> {
        let Some(PsLeaf::Several { branches, .. }) = self.leaf else { return Vec::new() };
        let branch = |branch: &'a PsBranch| Self {
            chain: &branch.chain,
            leaf: branch.leaf.as_ref(),
            missing: branch.chain_missing.as_deref(),
        };
        branches.iter().map(branch).collect()
    }
}

/// Adds what tasks with the same chain await.
pub(super) fn add(awaits: &[Awaits<'_>], indent: usize, page: &mut Page) {
    let Some(first) = awaits.first() else { return };
    steps(first.chain, indent, page);
    let indent = (indent + 2 * first.chain.len()).min(indent.max(MAX_INDENT));
    let leaves: Vec<_> = awaits.iter().filter_map(|awaits| awaits.leaf).collect();
    if let Some(leaf) = leaf::text(&leaves) {
        page.indented(indent, Emphasis::Place, &format!("waits for {leaf}"));
    }
    let all: Vec<_> = awaits.iter().map(|awaits| awaits.branches()).collect();
    let branches = all.iter().map(Vec::len).min().unwrap_or(0);
    for number in 0..branches.min(MAX_BRANCHES) {
        let branch: Vec<_> = all.iter().filter_map(|branches| branches.get(number).copied()).collect();
        page.cut_line(Emphasis::None, &format!("{:indent$}branch {}", "", number + 1));
        add(&branch, indent + 2, page);
    }
    if branches > MAX_BRANCHES {
        let more = count(branches - MAX_BRANCHES, "more branch", "more branches");
        page.indented(indent, Emphasis::None, &format!("and {more}"));
    }
    if let Some(missing) = first.missing {
        page.indented(indent, Emphasis::None, &format!("not known further: {}", printable(missing)));
    }
}

fn steps(steps: &[PsAwait], indent: usize, page: &mut Page) {
    let left_out = steps.len().saturating_sub(MAX_STEPS);
    for (depth, step) in steps.iter().enumerate() {
        let indent = (indent + 2 * depth).min(indent.max(MAX_INDENT));
        if left_out > 0 && depth == MAX_STEPS / 2 {
            let more = count(left_out, "more await", "more awaits");
            page.cut_line(Emphasis::None, &format!("{:indent$}… {more}", ""));
        }
        if (MAX_STEPS / 2..MAX_STEPS / 2 + left_out).contains(&depth) {
            continue;
        }
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
