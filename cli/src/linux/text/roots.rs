//! The futures that threads run with `block_on`.

use loopscope::Frame;
use loopscope::attach::{PsDocument, PsRoot};
use loopscope::report::printable;

use crate::linux::text::awaits::{self, Awaits};
use crate::linux::text::chain;
use crate::linux::text::layout::{Emphasis, Page};
use crate::linux::text::leaf;
use crate::linux::text::words::count;

/// How many futures are shown.
const MAX_ROOTS: usize = 8;

/// Adds a line for each future, below the threads that run them.
pub(super) fn add_lines(document: &PsDocument, page: &mut Page) {
    let shown = shown(document, page);
    for root in shown {
        let name = printable(&root.kind);
        let place = chain::place_in(&root.chain).map(|step| chain::at(step, &root.kind));
        let text = match (place, leaf::text(&root.leaf.iter().collect::<Vec<_>>())) {
            (Some(place), Some(leaf)) => format!("`{name}` waits {place} for {leaf}"),
            (Some(place), None) => format!("`{name}` waits {place}"),
            (None, Some(leaf)) => format!("`{name}` waits for {leaf}"),
            (None, None) => {
                let missing = root.chain_missing.as_deref().unwrap_or("it is not known what it awaits");
                format!("`{name}`: {}", printable(missing))
            }
        };
        page.below_label(Emphasis::Place, &text);
    }
    add_rest(document, shown.len(), |text| page.below_label(Emphasis::None, text));
}

/// Adds the chains of awaits.
pub(super) fn add_chains(document: &PsDocument, page: &mut Page) {
    let shown = shown(document, page);
    for root in shown {
        let place = root.site.as_ref().and_then(place).unwrap_or_default();
        let head = format!("block_on{place} in thread {}: `{}`", root.tid, printable(&root.kind));
        page.blank_line();
        page.indented(0, Emphasis::Head, &head);
        awaits::add(&[Awaits::of_root(root)], 2, page);
    }
    add_rest(document, shown.len(), |text| page.indented(0, Emphasis::None, text));
    if !shown.is_empty() {
        page.blank_line();
    }
}

fn shown<'d>(document: &'d PsDocument, page: &Page) -> &'d [PsRoot] {
    let n = if page.view.lists_all { document.roots.len() } else { document.roots.len().min(MAX_ROOTS) };
    &document.roots[..n]
}

fn add_rest(document: &PsDocument, shown: usize, mut add: impl FnMut(&str)) {
    let rest = document.roots.len() - shown;
    if rest > 0 {
        let more = count(rest, "more future of a block_on", "more futures of block_on");
        add(&format!("and {more}; --all lists them"));
    }
}

/// Returns where `block_on` was called.
fn place(site: &Frame) -> Option<String> {
    Some(format!(" at {}:{}", printable(site.file.as_deref()?), site.line?))
}
