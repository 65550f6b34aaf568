//! One finding as a diagnostic in the style of the Rust compiler.

mod call_span;
mod callers;
mod function_name;
mod label;
mod marked_line;

use std::time::Duration;

use annotate_snippets::{Group, Level, Message, Origin, Renderer};

use crate::finding::{Evidence, Finding, Frame, FrameKind, Site};
use crate::report::diagnostic::callers::callers;
use crate::report::diagnostic::label::Label;
use crate::report::diagnostic::marked_line::MarkedLine;
use crate::report::source_line;
use crate::report::terminal_width::{self, DEFAULT_COLUMNS};
use crate::report::text::{self, clean, count, duration, nameless};
use crate::report::wrap::{width, wrapped};

/// Time that is not the code's own is shown from this part of the total on.
const MIN_NOT_OWN_DIVISOR: u32 = 10;
/// Of that time, a part is shown that is larger than this part of it.
const MIN_PART_DIVISOR: u32 = 100;
/// Text has at least this width, however long the name before it is.
const MIN_TEXT_COLUMNS: usize = 20;

/// What else helps if a stall held the driver of a runtime with other workers.
const DRIVER_ADVICE: &str = "a multi-thread runtime hands its driver to another worker before each poll with \
     `tokio::runtime::Builder::enable_eager_driver_handoff` (Tokio 1.54, `tokio_unstable`)";

/// Formats `finding` in the style of the Rust compiler, with ANSI colours if
/// `color`. The text is wrapped at 120 columns and ends with a newline.
///
/// The source line is included if its file is readable: below the directories
/// where this process was compiled, or below the current directory. Names and
/// paths of the finding are escaped, so that they cannot reach the terminal as
/// control sequences.
#[must_use]
pub fn diagnostic(finding: &Finding, color: bool) -> String {
    render(finding, color, DEFAULT_COLUMNS, &source_line::read_whole)
}

/// Formats as [`diagnostic`] does, in the width of what stderr is.
pub(super) fn for_stderr(finding: &Finding, color: bool) -> String {
    render(finding, color, terminal_width::columns(), &source_line::read_whole)
}

/// Formats with source lines from `read_line`.
fn render(
    finding: &Finding,
    color: bool,
    columns: usize,
    read_line: &dyn Fn(&str, u32) -> Option<String>,
) -> String {
    let label = Label::new(finding);
    let marked = finding.site.as_ref().and_then(|site| MarkedLine::new(site, finding, read_line));
    let drawing = marked.as_ref().map(|marked| marked.drawing(&label, columns));
    let id = format!("loopscope::{}", finding.cause);
    let title = wrapped(&text::title(finding), room(columns, &format!("warning[{id}]: ")));
    let group = Group::with_title(Level::WARNING.primary_title(title).id(id));
    let (group, number_columns, undrawn, snippet_columns) = match drawing {
        Some(drawing) => {
            let number_columns = drawing.number_columns;
            (group.element(drawing.snippet), number_columns, drawing.undrawn, drawing.columns)
        }
        None => (located(group, finding), 0, None, columns),
    };
    let notes = notes(finding, undrawn, columns, number_columns);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = renderer.term_width(snippet_columns).render(&[group.elements(notes)]);
    text.push('\n');
    text
}

/// Adds file, line and column, without the line of source.
fn located<'a>(group: Group<'a>, finding: &Finding) -> Group<'a> {
    let Some(Site { file: Some(file), line, column, .. }) = &finding.site else {
        return group;
    };
    let mut origin = Origin::path(clean(file));
    if let Some(line) = line.filter(|line| *line > 0) {
        origin = origin.line(line as usize);
        if let Some(column) = column {
            origin = origin.char_column(*column as usize);
        }
    }
    group.element(origin)
}

/// Returns how many columns are left for text behind `prefix`.
fn room(columns: usize, prefix: &str) -> usize {
    columns.saturating_sub(width(prefix)).max(MIN_TEXT_COLUMNS)
}

/// Collects notes, each wrapped behind its name.
struct Notes {
    list: Vec<Message<'static>>,
    columns: usize,
    number_columns: usize,
}

impl Notes {
    /// Returns the width of a note's text. Before it are the space below the
    /// line's number, ` = `, the name and `: `.
    fn room(&self, name: &str) -> usize {
        room(self.columns, &format!("{:number$} = {name}: ", "", number = self.number_columns))
    }

    fn add(&mut self, name: &'static str, text: impl Into<String>) {
        let text = wrapped(&text.into(), self.room(name));
        self.list.push(Level::NOTE.with_name(name).message(text));
    }

    fn add_all<T: Into<String>>(&mut self, name: &'static str, texts: impl IntoIterator<Item = T>) {
        for text in texts {
            self.add(name, text);
        }
    }
}

/// Returns the notes below the source line, in the order in which they are
/// read. `undrawn` is what the label had no room for.
fn notes(
    finding: &Finding,
    undrawn: Option<String>,
    columns: usize,
    number_columns: usize,
) -> Vec<Message<'static>> {
    let mut notes = Notes { list: Vec::new(), columns, number_columns };
    notes.add_all("call", undrawn);
    let function = function(finding, notes.room("function"));
    notes.add_all("function", function);
    notes.add("task", task(finding));
    notes.add_all("so far", text::so_far(finding));
    notes.add_all("not counted", not_own(finding));
    notes.add_all("waited", waited(finding));
    notes.add_all("driver", driver(finding));
    notes.add_all("lock", lock(finding));
    let callers_room = notes.room("called from");
    notes.add_all("called from", callers(finding).into_iter().map(|frame| place(frame, callers_room)));
    notes.add_all("lines", finding.lines_missing.as_deref().map(clean));
    notes.add_all("recovered", recovered(finding));
    notes.add_all("evidence", evidence(finding.evidence));
    notes.add_all("evidence", weak_stalls(finding));
    if !finding.advice.is_empty() {
        notes.add("help", text::advice(finding));
    }
    if finding.victims.driver_held && finding.victims.has_other_workers {
        notes.add("help", DRIVER_ADVICE);
    }
    notes.list
}

fn task(finding: &Finding) -> String {
    let kinds = text::tasks(finding);
    match &finding.task.spawned_at {
        Some(at) if finding.tasks.len() < 2 && *at != finding.task.kind => {
            format!("{kinds} (spawned at {})", clean(at))
        }
        _ => kinds,
    }
}

/// Returns the time of the stalls that the totals do not include, if it is
/// considerable.
fn not_own(finding: &Finding) -> Option<String> {
    let split = &finding.split;
    if split.not_own() < finding.total / MIN_NOT_OWN_DIVISOR {
        return None;
    }
    let parts = [
        (split.run_queue, "without a free CPU"),
        (split.paused, "with the process stopped"),
        (split.unknown, "of which nothing is known"),
    ];
    let is_considerable = |time: Duration| time > split.not_own() / MIN_PART_DIVISOR;
    let parts = parts.into_iter().filter(|(time, _)| is_considerable(*time));
    let parts: Vec<_> = parts.map(|(time, what)| format!("{} {what}", duration(time))).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn waited(finding: &Finding) -> Option<String> {
    let victims = &finding.victims;
    let waits = victims.waits.saturating_sub(victims.released);
    if waits > 0 && (victims.tasks == 0 || victims.released > 0) {
        // Either this is the difference of two documents, and the same tasks
        // had waited before. Or `tasks` has released tasks too, whose delay is
        // not known.
        let waits = count(waits, "wait", "waits");
        return Some(format!("{waits}, {} in all", duration(victims.delay)));
    }
    (victims.tasks > 0 && victims.released == 0).then(|| {
        let about = if victims.is_estimate() { "about " } else { "" };
        let tasks = count(victims.tasks, "task", "tasks");
        let times =
            if victims.waits > victims.tasks { format!("{} times, ", victims.waits) } else { String::new() };
        format!("{about}{tasks} waited {times}{} in all", duration(victims.delay))
    })
}

/// Returns what the runtime lost because a stall held its driver.
fn driver(finding: &Finding) -> Option<String> {
    let victims = &finding.victims;
    victims.driver_held.then(|| {
        let released = if victims.released > 0 {
            format!("; {} woken right after", count(victims.released, "task was", "tasks were"))
        } else {
            String::new()
        };
        format!("meanwhile nothing served the sockets and timers of the whole runtime{released}")
    })
}

/// Returns how many workers waited for the lock, and which worker held it.
fn lock(finding: &Finding) -> Option<String> {
    let detail = &finding.detail;
    let waiters = (detail.waiters > 1)
        .then(|| format!("up to {} workers waited for it at the same time", detail.waiters));
    let holder = detail.holder.as_deref().map(|holder| format!("probably held by {}", clean(holder)));
    let parts: Vec<_> = waiters.into_iter().chain(holder).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Returns the function of the site. If its file is not known, returns what is
/// known of the place: the called function, else the innermost one.
fn function(finding: &Finding, columns: usize) -> Option<String> {
    match &finding.site {
        Some(site) => {
            let function = function_name::described(&site.function, columns);
            Some(if site.file.is_some() { function } else { format!("{function}, in an unknown file") })
        }
        None => called_frame(finding).map(|frame| {
            let place = place(frame, columns);
            format!("{place}, called from an unknown line of the application")
        }),
    }
}

/// Returns the frame of the called function. Its name there may have private
/// modules.
fn called_frame(finding: &Finding) -> Option<&Frame> {
    let last = |path: &str| path.rsplit("::").next().unwrap_or_default().to_owned();
    let called = finding.primitive.as_deref().map(last);
    let is_called = |frame: &&Frame| called.as_deref() == Some(&last(&frame.function));
    // Outside of the runtime's frames, every stack is the same.
    let inner = || finding.stack.iter().take_while(|frame| frame.kind != FrameKind::Runtime);
    inner()
        .filter(is_called)
        .last()
        .or_else(|| finding.stack.iter().find(is_called))
        .or(finding.stack.first())
}

/// Returns the function of a frame and where it is.
fn place(frame: &Frame, columns: usize) -> String {
    let function = function_name::quoted(&frame.function, columns);
    let location = frame.file.as_deref().map(|file| text::location(file, frame.line, frame.column));
    let mut place = match location {
        Some(location) if nameless(&frame.function).is_some() => format!("{location} {function}"),
        Some(location) if frame.line.is_some() => format!("{function} at {location}"),
        Some(location) => format!("{function} in {location}"),
        None => function,
    };
    if frame.recovered {
        place.push_str(" (recovered)");
    }
    place
}

/// Returns how many stalls may belong to another line or have lasted longer.
fn weak_stalls(finding: &Finding) -> Option<String> {
    let of = |n| format!("{n} of {}", count(finding.count, "stall", "stalls"));
    let without_stack = (finding.without_stack > 0 && finding.evidence != Evidence::None).then(|| {
        format!(
            "{} had no stack: counted here because these tasks were seen to block nowhere else",
            of(finding.without_stack)
        )
    });
    let sampled_once = (finding.sampled_once > 0).then(|| {
        format!(
            "{} had one early sample: most of their time may be at another line",
            of(finding.sampled_once)
        )
    });
    let lower_bounds = (finding.lower_bounds > 0).then(|| {
        format!(
            "{} had begun before the watchdog saw them: their times are lower bounds",
            of(finding.lower_bounds)
        )
    });
    let parts: Vec<_> = without_stack.into_iter().chain(sampled_once).chain(lower_bounds).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Returns how far the site can be trusted, if it was not on the stack.
fn recovered(finding: &Finding) -> Option<&'static str> {
    let site = finding.site.as_ref().filter(|site| site.recovered)?;
    Some(if site.line.is_some() {
        "this call left no frame, because it was compiled to a jump; only this jump, or that of an equal \
         function merged with this one, leads to the call that blocks"
    } else {
        "this function left no frame, because its last call was compiled to a jump; more than one of its \
         jumps leads to the call that blocks"
    })
}

/// Returns how far the frames can be trusted, if the stack is not exact.
fn evidence(evidence: Evidence) -> Option<&'static str> {
    match evidence {
        Evidence::Stack => None,
        Evidence::Reconstructed => {
            Some("the stack is reconstructed: the innermost frames are certain, the outer ones may be stale")
        }
        Evidence::Leaf => Some("only the innermost frames are known, not their callers"),
        Evidence::None => Some("no stack was captured; cause and durations are measured"),
    }
}

#[cfg(test)]
mod tests;
