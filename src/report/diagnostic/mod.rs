//! One finding as a diagnostic in the style of the Rust compiler.

use annotate_snippets::{AnnotationKind, Group, Level, Message, Origin, Renderer, Snippet};

use crate::finding::{Cause, Evidence, Finding, Frame, FrameKind, Site};
use crate::report::source_line;
use crate::report::text::{self, clean, count, duration};

/// How many callers of the site a diagnostic names.
const MAX_CALLERS: usize = 3;
/// Time that is not the code's own is shown from this part of the total on.
const MIN_NOT_OWN_DIVISOR: u32 = 10;

/// What else helps if a stall held the driver of a runtime with other workers.
const DRIVER_ADVICE: &str = "a multi-thread runtime hands its driver to another worker before each poll with \
     `tokio::runtime::Builder::enable_eager_driver_handoff` (Tokio 1.54, `tokio_unstable`)";

/// Formats `finding` in the style of the Rust compiler, with ANSI colours if
/// `color`. The text ends with a newline.
///
/// The source line is included if its file is readable: below the directories
/// where this process was compiled, or below the current directory. Names and
/// paths of the finding are escaped, so that they cannot reach the terminal as
/// control sequences.
#[must_use]
pub fn diagnostic(finding: &Finding, color: bool) -> String {
    render(finding, color, &source_line::read)
}

/// Formats with source lines from `read_line`.
fn render(finding: &Finding, color: bool, read_line: &dyn Fn(&str, u32) -> Option<String>) -> String {
    let title =
        Level::WARNING.primary_title(text::title(finding)).id(format!("loopscope::{}", finding.cause));
    let notes = notes(finding);
    let group = located(Group::with_title(title), finding, read_line);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = renderer.render(&[group.elements(notes)]);
    text.push('\n');
    text
}

/// Adds the location: with the line of source if that is known, else only file
/// and line number.
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

/// Returns the label under the line of source.
fn label(finding: &Finding) -> String {
    let detail = &finding.detail;
    let action = match finding.cause {
        Cause::Cpu => "computes here",
        Cause::Hog => "sampled here, in one of many short polls",
        Cause::Unyielding => "sampled here; the task never yields",
        Cause::Lock => "waits for a lock here",
        _ => "blocks here",
    };
    let call = detail.syscall.as_deref().map(|call| format!(", in {}", clean(call)));
    let on = detail.fd.as_deref().map(|fd| format!(" on {}", clean(fd)));
    format!("{action}{}{}", call.unwrap_or_default(), on.unwrap_or_default())
}

/// Returns the notes below the source line, in the order in which they are
/// read.
fn notes(finding: &Finding) -> Vec<Message<'static>> {
    let note = |name: &'static str, message: String| Level::NOTE.with_name(name).message(message);
    let mut notes = vec![note("task", task(finding))];
    notes.extend(not_own(finding).map(|parts| note("not counted", parts)));
    notes.extend(waited(finding).map(|waited| note("waited", waited)));
    notes.extend(driver(finding).map(|driver| note("driver", driver)));
    notes.extend(lock(finding).map(|lock| note("lock", lock)));
    notes.extend(function(finding).map(|function| note("function", function)));
    notes.extend(callers(finding).map(|caller| note("called from", caller)));
    notes.extend(finding.lines_missing.as_deref().map(|reason| note("lines", clean(reason))));
    notes.extend(recovered(finding).map(|recovered| note("recovered", recovered.to_owned())));
    notes.extend(evidence(finding.evidence).map(|evidence| note("evidence", evidence.to_owned())));
    notes.extend(weak_stalls(finding).map(|stalls| note("evidence", stalls)));
    if !finding.advice.is_empty() {
        notes.push(Level::HELP.message(clean(&finding.advice)));
    }
    if finding.victims.driver_held && finding.victims.has_other_workers {
        notes.push(Level::HELP.message(DRIVER_ADVICE));
    }
    notes
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
    let parts = parts.into_iter().filter(|(time, _)| !time.is_zero());
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

/// Returns what is known of the place, if no file of the application is: the
/// called function, else the innermost one.
fn function(finding: &Finding) -> Option<String> {
    match &finding.site {
        Some(Site { file: Some(_), .. }) => None,
        Some(site) => Some(format!("{}, in an unknown file", text::function(&site.function))),
        None => called_frame(finding).map(|frame| {
            let place = place(frame);
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

/// Returns the application's frames that called the site, innermost first.
fn callers(finding: &Finding) -> impl Iterator<Item = String> {
    let is_site = |frame: &Frame| {
        finding.site.as_ref().is_some_and(|site| {
            frame.function == site.function && frame.file == site.file && frame.line == site.line
        })
    };
    let outside = finding.stack.iter().position(is_site).map_or(0, |site| site + 1);
    // The code around `block_on` runs the event loop. It has not called the
    // site.
    let is_loop = |frame: &&Frame| frame.kind == FrameKind::Runtime && frame.function.ends_with("::block_on");
    let in_loop = finding.stack[outside..].iter().take_while(|frame| !is_loop(frame));
    let application = in_loop.filter(|frame| frame.kind == FrameKind::Application);
    // An async block inside a function is a second frame at the same line.
    let mut callers: Vec<&Frame> = application.collect();
    callers.dedup_by_key(|frame| (&frame.file, frame.line));
    callers.into_iter().take(MAX_CALLERS).map(place)
}

/// Returns the function of a frame and where it is.
fn place(frame: &Frame) -> String {
    let function = text::function(&frame.function);
    let mut place = match (&frame.file, frame.line) {
        (Some(file), Some(line)) if function.starts_with("in ") => {
            format!("{}:{line} {function}", clean(file))
        }
        (Some(file), Some(line)) => format!("{function} at {}:{line}", clean(file)),
        (Some(file), None) => format!("{function} in {}", clean(file)),
        (None, _) => function,
    };
    if frame.recovered {
        place.push_str(" (recovered)");
    }
    place
}

/// Returns how many stalls may belong to another line.
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
    let parts: Vec<_> = without_stack.into_iter().chain(sampled_once).collect();
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
