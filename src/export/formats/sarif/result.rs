//! One finding as a result: its message, location, stack and figures.

use serde::Serialize;

use crate::export::formats::profile;
use crate::export::formats::sarif::place::{self, PhysicalLocation, Place, Relation};
use crate::export::formats::sarif::rules;
use crate::finding::{Evidence, Finding, Frame, FrameKind, Site};
use crate::report::text::{self, clean};

/// Further outer frames are left out, so that a document of all findings stays
/// small.
const MAX_FRAMES: usize = 16;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SarifResult<'f> {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: [Location; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    stacks: Option<[Stack; 1]>,
    partial_fingerprints: Fingerprints<'f>,
    occurrence_count: u64,
    properties: Properties<'f>,
}

#[derive(Debug, Serialize)]
struct Message {
    text: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logical_locations: Option<[LogicalLocation; 1]>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    fully_qualified_name: String,
}

#[derive(Debug, Serialize)]
struct Stack {
    message: Message,
    frames: Vec<StackFrame>,
}

#[derive(Debug, Serialize)]
struct StackFrame {
    location: Location,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<FrameProperties>,
}

#[derive(Debug, Serialize)]
struct FrameProperties {
    recovered: bool,
}

/// The first name is the one that GitHub reads. It replaces the hash of the
/// line's text that GitHub would compute: of a computation, each document may
/// show another line.
#[derive(Debug, Serialize)]
struct Fingerprints<'f> {
    #[serde(rename = "primaryLocationLineHash")]
    github: &'f str,
    #[serde(rename = "loopscopeFinding/2")]
    loopscope: &'f str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties<'f> {
    finding_id: &'f str,
    task: String,
    evidence: &'static str,
    without_stack: u64,
    sampled_once: u64,
    recovered: bool,
    total_seconds: f64,
    max_seconds: f64,
    victim_tasks: u64,
    victim_waits: u64,
    victim_delay_seconds: f64,
    driver_held: bool,
}

impl<'f> SarifResult<'f> {
    pub(super) fn new(finding: &'f Finding, place: &Place, fingerprint: &'f str) -> Self {
        let site = finding.site.as_ref();
        let function = site.map(|site| logical_location(&site.function));
        let location = Location {
            physical_location: Some(PhysicalLocation::with_source(place)),
            logical_locations: function,
        };
        Self {
            rule_id: rules::id(finding.cause),
            rule_index: rules::index(finding.cause),
            level: if place.relation == Relation::Site { "warning" } else { "note" },
            message: Message { text: message(finding, place_sentence(finding, place)) },
            locations: [location],
            stacks: stack(finding).map(|stack| [stack]),
            partial_fingerprints: Fingerprints { github: fingerprint, loopscope: fingerprint },
            occurrence_count: finding.count.max(1),
            properties: Properties {
                finding_id: &finding.id,
                task: text::tasks(finding),
                evidence: finding.evidence.as_str(),
                without_stack: finding.without_stack,
                sampled_once: finding.sampled_once,
                recovered: site.is_some_and(|site| site.recovered),
                total_seconds: finding.total.as_secs_f64(),
                max_seconds: finding.max.as_secs_f64(),
                victim_tasks: finding.victims.tasks,
                victim_waits: finding.victims.waits,
                victim_delay_seconds: finding.victims.delay.as_secs_f64(),
                driver_held: finding.victims.driver_held,
            },
        }
    }
}

/// Returns the message for a finding that belongs to no known line.
pub(super) fn message_without_place(finding: &Finding) -> String {
    message(finding, Some(blocking_line(finding)))
}

/// Returns what blocked, what the location is, how far the stack can be
/// trusted, and what to write instead, each as a sentence.
fn message(finding: &Finding, place: Option<String>) -> String {
    // Paths are those of the machine. The advice may say the same.
    let is_new = |reason: &&str| !reason.contains('/') && !finding.advice.contains("line-tables-only");
    let lines_missing = finding.lines_missing.as_deref().filter(|_| place.is_some());
    let lines_missing = lines_missing.filter(is_new).map(clean);
    let evidence = match finding.evidence {
        Evidence::Stack => None,
        Evidence::Reconstructed => Some(
            "The stack is reconstructed: its outer frames may be left over from earlier calls.".to_owned(),
        ),
        Evidence::Leaf => Some("Only the innermost frames of the stack are known.".to_owned()),
        Evidence::None => Some("No stack was captured.".to_owned()),
    };
    let parts = [Some(text::title(finding)), place, lines_missing, evidence, Some(text::advice(finding))];
    let sentences: Vec<_> = parts.into_iter().flatten().filter(|text| !text.trim().is_empty()).collect();
    let text = sentences.iter().map(|text| sentence(text)).collect::<Vec<_>>().join(" ");
    // Readers would take names of these forms for a link and a placeholder. The
    // standard doubles braces, but not every reader undoes that.
    text.replace("](", "] (").replace('{', "(").replace('}', ")")
}

/// Returns `text` with an upper-case letter at its start and a full stop at its
/// end.
fn sentence(text: &str) -> String {
    let mut chars = text.trim().chars();
    let mut sentence: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    sentence.push_str(chars.as_str());
    if !sentence.ends_with(['.', '!', '?', '…']) {
        sentence.push('.');
    }
    sentence
}

/// Returns what the location is, unless it is the line to change.
fn place_sentence(finding: &Finding, place: &Place) -> Option<String> {
    let line = blocking_line(finding);
    match place.relation {
        Relation::Site if place.line.is_some() => None,
        Relation::Site => Some("The line in this file is not known.".to_owned()),
        Relation::Caller => Some(format!("{line}: this line calls it.")),
        Relation::Spawn => Some(format!("{line}: this line spawns the task.")),
    }
}

/// Returns why no result can be at the line that blocks.
fn blocking_line(finding: &Finding) -> String {
    match &finding.site {
        None => "The line that blocks is not known".to_owned(),
        Some(Site { file: Some(_), .. }) => "The line that blocks is not in the repository".to_owned(),
        Some(site) => {
            let function = quoted(&site.function);
            format!("The line that blocks is not known, only its function, {function}")
        }
    }
}

/// Returns a function's name in backticks. An async block or closure without a
/// name of its own is shown by its module: ``in `app::session` ``.
fn quoted(function: &str) -> String {
    match text::nameless(function) {
        Some((module, _)) => format!("in `{}`", clean(module)),
        None => format!("`{}`", clean(function)),
    }
}

fn logical_location(function: &str) -> [LogicalLocation; 1] {
    [LogicalLocation { fully_qualified_name: clean(function) }]
}

/// Returns the stack without the frames of the runtime.
fn stack(finding: &Finding) -> Option<Stack> {
    let frames = profile::frames_of_task(&finding.stack);
    if frames.is_empty() {
        return None;
    }
    let trust = match finding.evidence {
        Evidence::Stack => "The stack is exact.",
        Evidence::Reconstructed => {
            "The innermost frames are certain; the outer ones may be left over from earlier calls."
        }
        Evidence::Leaf | Evidence::None => "Only the innermost frames are known.",
    };
    let left_out = match frames.len().saturating_sub(MAX_FRAMES) {
        0 => String::new(),
        more => format!(" Outer frames left out: {more}."),
    };
    let message = Message { text: format!("{trust}{left_out}") };
    Some(Stack { message, frames: frames.iter().take(MAX_FRAMES).map(stack_frame).collect() })
}

/// Returns a frame. Only the application's files are in the repository.
fn stack_frame(frame: &Frame) -> StackFrame {
    let file = frame.file.as_deref().filter(|_| frame.kind == FrameKind::Application);
    let file = file.and_then(place::in_repository);
    let place = file.zip(place::valid_line(frame.line));
    let location = Location {
        physical_location: place.map(|(file, line)| PhysicalLocation::new(&file, line)),
        logical_locations: Some(logical_location(&frame.function)),
    };
    StackFrame { location, properties: frame.recovered.then_some(FrameProperties { recovered: true }) }
}
