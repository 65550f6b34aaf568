//! The site's line of source, with a mark under the call.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use crate::finding::{Finding, Site};
use crate::report::diagnostic::call_span;
use crate::report::diagnostic::label::Label;
use crate::report::source_line::printable;
use crate::report::text::clean;
use crate::report::wrap::width;

/// A longer line was generated. It is not shown.
const MAX_LINE_BYTES: usize = 8 << 10;
/// In this many columns, or fewer, no part of a line can be recognised.
const MIN_SNIPPET_COLUMNS: usize = 24;
/// How much narrower the next attempt to draw a line is.
const ATTEMPT_STEP_COLUMNS: usize = 6;

/// A line of source of which a part is marked.
#[derive(Debug)]
pub(super) struct MarkedLine {
    path: String,
    number: usize,
    source: String,
    call: Range<usize>,
}

/// A line as it is drawn.
pub(super) struct Drawing<'l> {
    pub(super) snippet: Snippet<'l, Annotation<'l>>,
    /// The width in which the line and its label fit into the wanted width.
    pub(super) columns: usize,
    /// The width of the line's number.
    pub(super) number_columns: usize,
    /// What the label had no room for.
    pub(super) undrawn: Option<String>,
}

impl MarkedLine {
    /// Reads the line of a site. `None` if it is not at hand, or if no code is
    /// at the site's column, because the file has changed.
    pub(super) fn new(
        site: &Site,
        finding: &Finding,
        read_line: &dyn Fn(&str, u32) -> Option<String>,
    ) -> Option<Self> {
        let (file, line) = (site.file.as_deref()?, site.line.filter(|line| *line > 0)?);
        let raw = read_line(file, line).filter(|raw| raw.len() <= MAX_LINE_BYTES)?;
        let raw = raw.trim_end();
        let call = match site.column {
            Some(column) => call_span::at_column(raw, column)?,
            None => call_span::of_name(raw, finding.primitive.as_deref()),
        };
        // Columns are those of the file, not of the text that is shown.
        let shown = |end: usize| printable(&raw[..end]).len();
        let call = shown(call.start)..shown(call.end);
        Some(Self { path: clean(file), number: line as usize, source: printable(raw), call })
    }

    /// Returns the drawing with as much of the label as has room. More of the
    /// line is better than more of the label, which has another place.
    pub(super) fn drawing(&self, label: &Label, columns: usize) -> Drawing<'_> {
        let whole = label.whole();
        let labels = [&*whole, label.action];
        let narrower = || (MIN_SNIPPET_COLUMNS..columns).rev().step_by(ATTEMPT_STEP_COLUMNS);
        let attempts = labels.into_iter().map(|label| (label, columns));
        let narrower_attempts =
            labels.into_iter().flat_map(|label| narrower().map(move |narrower| (label, narrower)));
        let fitting =
            attempts.chain(narrower_attempts).find(|(label, drawn)| self.fits(label, *drawn, columns));
        let undrawn = match fitting {
            Some((drawn, _)) if drawn == whole => None,
            Some(_) => label.call.clone(),
            None => Some(whole.clone()),
        };
        Drawing {
            snippet: self.snippet(fitting.map(|(label, _)| label)).path(self.path.as_str()),
            columns: fitting.map_or(columns, |(_, columns)| columns),
            number_columns: self.number.to_string().len(),
            undrawn,
        }
    }

    fn snippet(&self, label: Option<&str>) -> Snippet<'_, Annotation<'_>> {
        let mark = AnnotationKind::Primary.span(self.call.clone()).label(label.map(str::to_owned));
        Snippet::source(self.source.as_str()).line_start(self.number).annotation(mark)
    }

    /// Returns whether line and label fit into `columns` if they are drawn for
    /// `drawn` columns. The renderer cuts the line around the mark, but leaves
    /// it whole if only the label has no room.
    fn fits(&self, label: &str, drawn: usize, columns: usize) -> bool {
        let group = Group::with_level(Level::WARNING).element(self.snippet(Some(label)));
        let text = Renderer::plain().term_width(drawn).render(&[group]);
        text.lines().all(|line| width(line) <= columns)
    }
}
