//! One finding, drawn as the compiler draws its own warnings.

use annotate_snippets::{AnnotationKind, Group, Level, Message, Origin, Renderer, Snippet};

use crate::finding::{Cause, Evidence, Finding, Frame, FrameKind, Site};
use crate::report::source_line;
use crate::report::text::{self, clean, count, duration};

/// How many callers of the site are named.
const MAX_CALLERS: usize = 3;

/// Draws `finding` as the compiler would, with ANSI colours if `color`; ends
/// with a newline.
///
/// The source line is shown where its file is found below the current
/// directory. What the finding says is shown as text: nothing in it can reach
/// the terminal as a control sequence.
#[must_use]
pub fn diagnostic(finding: &Finding, color: bool) -> String {
    draw(finding, color, &source_line::read)
}

/// Draws with `read_line` for the look at the source.
fn draw(finding: &Finding, color: bool, read_line: &dyn Fn(&str, u32) -> Option<String>) -> String {
    let title =
        Level::WARNING.primary_title(text::title(finding)).id(format!("loopscope::{}", finding.cause));
    let notes = notes(finding);
    let group = located(Group::with_title(title), finding, read_line);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut drawn = renderer.render(&[group.elements(notes)]);
    drawn.push('\n');
    drawn
}

/// Adds where it is: with the line of source, or only by name.
fn located<'a>(
    group: Group<'a>,
    finding: &Finding,
    read_line: &dyn Fn(&str, u32) -> Option<String>,
) -> Group<'a> {
    let Some(Site { file: Some(file), line, .. }) = &finding.site else {
        return group;
    };
    let Some(line) = line.filter(|line| *line > 0) else {
        return group.element(Origin::path(clean(file)));
    };
    let Some(source) = read_line(file, line) else {
        return group.element(Origin::path(clean(file)).line(line as usize));
    };
    let span = source.len() - source.trim_start().len()..source.trim_end().len();
    let annotation = AnnotationKind::Primary.span(span).label(label(finding));
    let snippet = Snippet::source(source).path(clean(file)).line_start(line as usize);
    group.element(snippet.annotation(annotation))
}

/// What is written under the line of source.
fn label(finding: &Finding) -> String {
    let detail = &finding.detail;
    let what = match finding.cause {
        Cause::Cpu => "computes here",
        Cause::Hog => "was met here, in one of many short polls",
        Cause::Unyielding => "was met here, and never yields",
        Cause::Lock => "waits here for a lock",
        _ => "blocks here",
    };
    let call = detail.syscall.as_deref().map(|call| format!(", in {}", clean(call)));
    let on = detail.fd.as_deref().map(|fd| format!(" on {}", clean(fd)));
    format!("{what}{}{}", call.unwrap_or_default(), on.unwrap_or_default())
}

/// The lines below the drawing, in the order in which they are read.
fn notes(finding: &Finding) -> Vec<Message<'static>> {
    let note = |name: &'static str, message: String| Level::NOTE.with_name(name).message(message);
    let mut notes = vec![note("task", task(finding))];
    notes.extend(waited(finding).map(|waited| note("waited", waited)));
    notes.extend(lock(finding).map(|lock| note("lock", lock)));
    notes.extend(place(finding).map(|place| note("in", place)));
    notes.extend(callers(finding).map(|caller| note("called from", caller)));
    notes.extend(evidence(finding.evidence).map(|evidence| note("evidence", evidence.to_owned())));
    if !finding.advice.is_empty() {
        notes.push(Level::HELP.message(clean(&finding.advice)));
    }
    notes
}

fn task(finding: &Finding) -> String {
    let kind = clean(&finding.task.kind);
    match &finding.task.spawned_at {
        Some(at) if *at != finding.task.kind => format!("{kind} (spawned at {})", clean(at)),
        _ => kind,
    }
}

fn waited(finding: &Finding) -> Option<String> {
    let victims = &finding.victims;
    (victims.tasks > 0).then(|| {
        let about = if victims.is_estimate() { "about " } else { "" };
        let tasks = count(victims.tasks, "task", "tasks");
        let times =
            if victims.waits > victims.tasks { format!("{} times, ", victims.waits) } else { String::new() };
        format!("{about}{tasks} waited {times}{} in all", duration(victims.delay))
    })
}

/// Who waited for the lock, and who held it.
fn lock(finding: &Finding) -> Option<String> {
    let detail = &finding.detail;
    let waiters =
        (detail.waiters > 1).then(|| format!("{} workers waited for it at one time", detail.waiters));
    let holder = detail.holder.as_deref().map(|holder| format!("probably held by {}", clean(holder)));
    let parts: Vec<_> = waiters.into_iter().chain(holder).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The innermost function that is known, where no file can be named.
fn place(finding: &Finding) -> Option<String> {
    match &finding.site {
        Some(Site { file: Some(_), .. }) => None,
        Some(site) => Some(format!("`{}`, whose file is not known", clean(&site.function))),
        None => finding.stack.first().map(|frame| {
            let function = clean(&frame.function);
            format!("`{function}`; which line of the application called it is not known")
        }),
    }
}

/// The application's frames outside of the site's own, innermost first.
fn callers(finding: &Finding) -> impl Iterator<Item = String> {
    let is_site = |frame: &Frame| {
        finding.site.as_ref().is_some_and(|site| {
            frame.function == site.function && frame.file == site.file && frame.line == site.line
        })
    };
    let outside = finding.stack.iter().position(is_site).map_or(0, |site| site + 1);
    let application = finding.stack[outside..].iter().filter(|frame| frame.kind == FrameKind::Application);
    // An async block inside a function is a frame of its own at the same line.
    let mut callers: Vec<&Frame> = application.collect();
    callers.dedup_by_key(|frame| (&frame.file, frame.line));
    callers.into_iter().take(MAX_CALLERS).map(|frame| {
        let function = clean(&frame.function);
        match (&frame.file, frame.line) {
            (Some(file), Some(line)) => format!("`{function}` at {}:{line}", clean(file)),
            (Some(file), None) => format!("`{function}` in {}", clean(file)),
            (None, _) => format!("`{function}`"),
        }
    })
}

/// How far the frames can be trusted, if not fully.
fn evidence(evidence: Evidence) -> Option<&'static str> {
    match evidence {
        Evidence::Stack => None,
        Evidence::Reconstructed => Some(
            "the stack is reconstructed: the innermost frames are certain, those further out may be stale",
        ),
        Evidence::Leaf => Some("only the innermost frames are known, not what called them"),
        Evidence::None => Some("no stack could be had; cause and durations are measured"),
    }
}

#[cfg(test)]
mod tests;
