//! Blocked time by stack: folded, as a flame graph, and for pprof.
//!
//! A finding keeps one stack, that of its best evidence, and all of its time is
//! put there: the graph is of what was found, not of every sample.

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use inferno::flamegraph;
use prost::Message;

use crate::export::formats::pprof::{Function, Line, Location, Profile, Sample, ValueType};
use crate::finding::{Finding, FindingsDocument, Frame, FrameKind};
use crate::unix_time;

/// What a finding without a stack is shown as.
const UNKNOWN: &str = "(no stack)";

/// A stack a line, outermost function first, with microseconds: what flame graph
/// tools read.
pub(crate) fn folded(document: &FindingsDocument) -> String {
    let mut lines: Vec<_> = document.findings.iter().map(folded_line).collect();
    lines.sort_unstable();
    lines.concat()
}

fn folded_line(finding: &Finding) -> String {
    let frames = within_the_task(&finding.stack).iter().rev().map(|frame| single_word(&label(frame)));
    let mut frames: Vec<_> = std::iter::once(single_word(&finding.task.kind)).chain(frames).collect();
    if finding.stack.is_empty() {
        frames.push(UNKNOWN.to_owned());
    }
    frames.push(format!("[{}]", finding.cause));
    format!("{} {}\n", frames.join(";"), microseconds(finding))
}

/// Without what is the same of every task: the frames between the thread's start
/// and the application's outermost.
fn within_the_task(stack: &[Frame]) -> &[Frame] {
    let outermost = stack.iter().rposition(|frame| frame.kind == FrameKind::Application);
    outermost.map_or(stack, |index| &stack[..=index])
}

fn label(frame: &Frame) -> String {
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{} ({file}:{line})", frame.function),
        _ => frame.function.clone(),
    }
}

/// The format knows no escape: a semicolon parts frames, a line is a stack.
fn single_word(text: &str) -> String {
    text.chars().map(|c| if c == ';' || c.is_control() { '_' } else { c }).collect()
}

fn microseconds(finding: &Finding) -> u64 {
    u64::try_from(finding.total.as_micros()).unwrap_or(u64::MAX)
}

/// A flame graph as a picture that can be searched and zoomed in a browser.
/// `None` if it cannot be drawn.
pub(crate) fn svg(document: &FindingsDocument) -> Option<Vec<u8>> {
    let mut options = flamegraph::Options::default();
    options.title = "Blocked time by stack".to_owned();
    options.count_name = "µs".to_owned();
    options.name_type = "Call:".to_owned();
    options.notes = format!("{}, process {}", document.process.program, document.process.pid);
    let folded = folded(document);
    // Nothing to draw is an error to the library, and no error here.
    let folded = if folded.is_empty() { "(nothing found) 1\n" } else { &*folded };
    let mut picture = Vec::new();
    flamegraph::from_lines(&mut options, folded.lines(), &mut picture).ok()?;
    Some(picture)
}

/// For `pprof`: stalls and blocked nanoseconds by stack, gzipped. `None` if it
/// cannot be written.
pub(crate) fn pprof(document: &FindingsDocument) -> Option<Vec<u8>> {
    let mut tables = Tables::default();
    let (stalls, time) = (tables.value_type("stalls", "count"), tables.value_type("blocked", "nanoseconds"));
    let samples = document.findings.iter().map(|finding| tables.sample(finding)).collect();
    let first = document.findings.iter().map(|finding| unix_time::to_nanos(finding.first_seen)).min();
    let last = document.findings.iter().map(|finding| unix_time::to_nanos(finding.last_seen)).max();
    let (first, last) = (first.unwrap_or(0), last.unwrap_or(0));
    let profile = Profile {
        sample_type: vec![stalls, time],
        sample: samples,
        location: tables.locations,
        function: tables.functions,
        string_table: tables.strings.list,
        time_nanos: first as i64,
        duration_nanos: last.saturating_sub(first) as i64,
        default_sample_type: time.r#type,
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&profile.encode_to_vec()).ok()?;
    gzip.finish().ok()
}

/// What the samples of a profile refer to by number.
#[derive(Default)]
struct Tables {
    strings: Strings,
    functions: Vec<Function>,
    locations: Vec<Location>,
    known: HashMap<Frame, u64>,
}

/// Each text once; the first is the empty one.
struct Strings {
    list: Vec<String>,
    known: HashMap<String, i64>,
}

impl Default for Strings {
    fn default() -> Self {
        Self { list: vec![String::new()], known: HashMap::from([(String::new(), 0)]) }
    }
}

impl Strings {
    fn number(&mut self, text: &str) -> i64 {
        *self.known.entry(text.to_owned()).or_insert_with(|| {
            self.list.push(text.to_owned());
            self.list.len() as i64 - 1
        })
    }
}

impl Tables {
    fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { r#type: self.strings.number(kind), unit: self.strings.number(unit) }
    }

    fn sample(&mut self, finding: &Finding) -> Sample {
        let location_id = finding.stack.iter().map(|frame| self.location(frame)).collect();
        let nanos = i64::try_from(finding.total.as_nanos()).unwrap_or(i64::MAX);
        let labels = [
            ("cause", finding.cause.as_str()),
            ("task", &*finding.task.kind),
            ("finding", &*finding.id),
            ("evidence", finding.evidence.as_str()),
        ];
        let label = labels.map(|(key, text)| super::pprof::Label {
            key: self.strings.number(key),
            str: self.strings.number(text),
        });
        let count = i64::try_from(finding.count).unwrap_or(i64::MAX);
        Sample { location_id, value: vec![count, nanos], label: label.into() }
    }

    /// A place in the code: a frame here, as inlined calls are frames already.
    fn location(&mut self, frame: &Frame) -> u64 {
        if let Some(id) = self.known.get(frame) {
            return *id;
        }
        let id = self.locations.len() as u64 + 1;
        let name = self.strings.number(&frame.function);
        let filename = self.strings.number(frame.file.as_deref().unwrap_or_default());
        self.functions.push(Function { id, name, system_name: name, filename });
        let line = i64::from(frame.line.unwrap_or(0));
        self.locations.push(Location { id, line: vec![Line { function_id: id, line }] });
        self.known.insert(frame.clone(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::report::sample;

    fn document() -> FindingsDocument {
        sample::document(vec![sample::sleep()])
    }

    #[test]
    fn a_folded_stack_begins_with_the_task_and_ends_with_the_cause() {
        let folded = folded(&document());
        let finding = sample::sleep();
        let (stack, time) = folded.trim_end().rsplit_once(' ').unwrap();
        assert_eq!(time.parse(), Ok(microseconds(&finding)));
        assert!(stack.starts_with(&finding.task.kind) && stack.ends_with(";[sleep]"), "{stack}");
        assert!(stack.contains(";chat::flood::throttle (src/flood.rs:31);"), "{stack}");
        assert!(!stack.contains("tokio::runtime"), "the same of every task: {stack}");
    }

    #[test]
    fn no_name_breaks_the_format() {
        let mut finding = sample::sleep();
        finding.task.kind = "a;b\nc 1".to_owned();
        finding.stack.clear();
        let folded = folded_line(&finding);
        assert_eq!(folded.lines().count(), 1);
        assert!(folded.starts_with("a_b_c 1;(no stack);[sleep] "), "{folded}");
    }

    #[test]
    fn nothing_found_is_drawn_too() {
        let picture = svg(&sample::document(Vec::new())).unwrap();
        assert!(String::from_utf8(picture).unwrap().contains("(nothing found)"));
    }

    #[test]
    fn a_picture_holds_no_markup_of_a_name() {
        let mut finding = sample::sleep();
        finding.task.kind = "<script>alert(1)</script>".to_owned();
        let picture = String::from_utf8(svg(&sample::document(vec![finding])).unwrap()).unwrap();
        assert!(picture.contains("&lt;script&gt;alert(1)"), "the name is shown");
        assert!(!picture.contains("<script>alert"), "and is no script");
    }

    #[test]
    fn a_profile_has_the_stack_by_names_and_the_time() {
        let zipped = pprof(&document()).unwrap();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*zipped).read_to_end(&mut bytes).unwrap();
        let profile = Profile::decode(&*bytes).unwrap();
        let finding = sample::sleep();
        let text = |number: i64| &*profile.string_table[number as usize];
        let sample = &profile.sample[0];
        assert_eq!(sample.value, [finding.count as i64, finding.total.as_nanos() as i64]);
        assert_eq!(sample.location_id.len(), finding.stack.len());
        for (id, frame) in sample.location_id.iter().zip(&finding.stack) {
            let location = profile.location.iter().find(|location| location.id == *id).unwrap();
            let line = location.line[0];
            let function = profile.function.iter().find(|function| function.id == line.function_id).unwrap();
            assert_eq!(text(function.name), frame.function);
            assert_eq!(line.line, i64::from(frame.line.unwrap_or(0)));
        }
        assert_eq!(text(profile.default_sample_type), "blocked");
    }
}
