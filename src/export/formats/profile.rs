//! Blocked time by stack: as folded stacks, as a flame graph, and for pprof.
//!
//! A finding keeps one stack, the one with the best evidence, and all its time
//! counts for that stack. The profile therefore shows findings, not all
//! samples.

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use inferno::flamegraph::{self, TextTruncateDirection};
use prost::Message;

use crate::export::formats::pprof::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType};
use crate::finding::{Finding, FindingsDocument, Frame, FrameKind};
use crate::unix_time;

/// Replaces the stack of a finding without one.
const NO_STACK: &str = "(no stack)";

/// The mapping of the program in a profile for pprof.
const PROGRAM_ID: u64 = 1;

/// Writes one stack per line, outermost function first, and its microseconds.
/// Flame graph tools read this format.
pub(crate) fn folded(document: &FindingsDocument) -> String {
    folded_with(document, label)
}

fn folded_with(document: &FindingsDocument, label: fn(&Frame) -> String) -> String {
    let findings = document.findings.iter();
    let mut lines: Vec<_> = findings.flat_map(|finding| folded_lines(finding, label)).collect();
    lines.sort_unstable();
    lines.concat()
}

/// Returns one line for each task kind of a finding.
fn folded_lines(finding: &Finding, label: fn(&Frame) -> String) -> Vec<String> {
    let frames = frames_of_task(&finding.stack).iter().rev().map(|frame| without_separators(&label(frame)));
    let mut frames: Vec<_> = frames.collect();
    if finding.stack.is_empty() {
        frames.push(NO_STACK.to_owned());
    }
    frames.push(format!("[{}]", finding.cause));
    let stack = frames.join(";");
    let line = |share: TaskTime<'_>| {
        format!("{};{stack} {}\n", without_separators(share.kind), share.total.as_micros())
    };
    task_times(finding).into_iter().map(line).collect()
}

/// What the tasks of one kind contribute to a finding.
struct TaskTime<'f> {
    kind: &'f str,
    count: u64,
    total: Duration,
}

fn task_times(finding: &Finding) -> Vec<TaskTime<'_>> {
    if finding.tasks.len() < 2 {
        return vec![TaskTime { kind: &finding.task.kind, count: finding.count, total: finding.total }];
    }
    let shares = finding.tasks.iter();
    shares.map(|share| TaskTime { kind: &share.kind, count: share.count, total: share.total }).collect()
}

/// Removes the frames outside the application's outermost frame or, if it has
/// none, outside a dependency's: they are the start of the thread and the
/// runtime, and the same for every task.
pub(crate) fn frames_of_task(stack: &[Frame]) -> &[Frame] {
    let outermost = |kind| stack.iter().rposition(|frame| frame.kind == kind);
    let outermost = outermost(FrameKind::Application).or_else(|| outermost(FrameKind::Dependency));
    outermost.map_or(stack, |index| &stack[..=index])
}

fn no_stack() -> Frame {
    let function = NO_STACK.to_owned();
    Frame { function, file: None, line: None, column: None, kind: FrameKind::Native, recovered: false }
}

fn label(frame: &Frame) -> String {
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{} ({file}:{line})", frame.function),
        _ => frame.function.clone(),
    }
}

/// Returns the label for a flame graph, which cuts long labels at their start:
/// the function comes last.
fn flame_graph_label(frame: &Frame) -> String {
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{file}:{line} {}", frame.function),
        _ => frame.function.clone(),
    }
}

/// Replaces the separators of the format, semicolon and line end, which cannot
/// be escaped.
fn without_separators(text: &str) -> String {
    text.chars().map(|c| if c == ';' || c.is_control() { '_' } else { c }).collect()
}

/// Draws a flame graph as SVG, with a script for search and zoom in a browser.
/// Returns `None` if that fails.
pub(crate) fn svg(document: &FindingsDocument) -> Option<Vec<u8>> {
    let mut options = flamegraph::Options::default();
    // The default colours are random.
    options.deterministic = true;
    options.title = "Blocked time by stack".to_owned();
    options.count_name = "µs".to_owned();
    options.name_type = "Call:".to_owned();
    options.text_truncate_direction = TextTruncateDirection::Left;
    options.notes = format!("{}, process {}", document.process.program, document.process.pid);
    let folded = folded_with(document, flame_graph_label);
    // The library returns an error if there is nothing to draw.
    let folded = if folded.is_empty() { "(no findings) 1\n" } else { &*folded };
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, folded.lines(), &mut svg).ok()?;
    Some(svg)
}

/// Writes a profile for `pprof`: the number of stalls and the blocked
/// nanoseconds by stack, gzipped. Returns `None` if that fails.
pub(crate) fn pprof(document: &FindingsDocument) -> Option<Vec<u8>> {
    let mut tables = ProfileTables::default();
    let (stalls, time) = (tables.value_type("stalls", "count"), tables.value_type("blocked", "nanoseconds"));
    let samples = document.findings.iter().flat_map(|finding| tables.samples(finding)).collect();
    let mapping = tables.mapping(&document.process.program);
    let first = document.findings.iter().map(|finding| unix_time::to_nanos(finding.first_seen)).min();
    let last = document.findings.iter().map(|finding| unix_time::to_nanos(finding.last_seen)).max();
    let (first, last) = (first.unwrap_or(0), last.unwrap_or(0));
    let profile = Profile {
        sample_type: vec![stalls, time],
        sample: samples,
        mapping: vec![mapping],
        location: tables.locations,
        function: tables.functions,
        string_table: tables.strings.strings,
        time_nanos: first as i64,
        duration_nanos: last.saturating_sub(first) as i64,
        default_sample_type: time.r#type,
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&profile.encode_to_vec()).ok()?;
    gzip.finish().ok()
}

/// The tables of a profile. Samples refer to their entries by number.
#[derive(Default)]
struct ProfileTables {
    strings: StringTable,
    functions: Vec<Function>,
    locations: Vec<Location>,
    location_ids: HashMap<Frame, u64>,
}

/// Contains each string once. The first is the empty string, as the format
/// requires.
struct StringTable {
    strings: Vec<String>,
    indices: HashMap<String, i64>,
}

impl Default for StringTable {
    fn default() -> Self {
        Self { strings: vec![String::new()], indices: HashMap::from([(String::new(), 0)]) }
    }
}

impl StringTable {
    /// Returns the index of `text`, which is added if it is new.
    fn index(&mut self, text: &str) -> i64 {
        *self.indices.entry(text.to_owned()).or_insert_with(|| {
            self.strings.push(text.to_owned());
            self.strings.len() as i64 - 1
        })
    }
}

impl ProfileTables {
    fn value_type(&mut self, kind: &str, unit: &str) -> ValueType {
        ValueType { r#type: self.strings.index(kind), unit: self.strings.index(unit) }
    }

    /// Returns the program, to which all locations belong.
    fn mapping(&mut self, program: &str) -> Mapping {
        Mapping {
            id: PROGRAM_ID,
            filename: self.strings.index(program),
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        }
    }

    /// Returns one sample for each task kind of a finding.
    fn samples(&mut self, finding: &Finding) -> Vec<Sample> {
        let mut location_id: Vec<_> =
            frames_of_task(&finding.stack).iter().map(|frame| self.location(frame)).collect();
        if location_id.is_empty() {
            location_id.push(self.location(&no_stack()));
        }
        let samples = task_times(finding).into_iter().map(|share| {
            let nanos = i64::try_from(share.total.as_nanos()).unwrap_or(i64::MAX);
            let labels = [
                ("cause", finding.cause.as_str()),
                ("task", share.kind),
                ("finding", &*finding.id),
                ("evidence", finding.evidence.as_str()),
            ];
            let label = labels
                .map(|(key, text)| Label { key: self.strings.index(key), str: self.strings.index(text) });
            let count = i64::try_from(share.count).unwrap_or(i64::MAX);
            Sample { location_id: location_id.clone(), value: vec![count, nanos], label: label.into() }
        });
        samples.collect()
    }

    /// Returns the id of the location of `frame`, which is added if it is new.
    /// Each location has one line, because inlined calls are separate frames.
    fn location(&mut self, frame: &Frame) -> u64 {
        if let Some(id) = self.location_ids.get(frame) {
            return *id;
        }
        let id = self.locations.len() as u64 + 1;
        let name = self.strings.index(&frame.function);
        let filename = self.strings.index(frame.file.as_deref().unwrap_or_default());
        // The mangled name is not known. If it were the same as the name, pprof
        // would demangle it as one of C++: `<T as Future>::poll` to `::poll`.
        self.functions.push(Function { id, name, system_name: 0, filename });
        let line = i64::from(frame.line.unwrap_or(0));
        self.locations.push(Location {
            id,
            mapping_id: PROGRAM_ID,
            line: vec![Line { function_id: id, line }],
        });
        self.location_ids.insert(frame.clone(), id);
        id
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::finding::TaskShare;
    use crate::report::sample;

    fn document() -> FindingsDocument {
        sample::document(vec![sample::sleep()])
    }

    #[test]
    fn a_folded_stack_starts_with_the_task_and_ends_with_the_cause() {
        let folded = folded(&document());
        let finding = sample::sleep();
        let (stack, time) = folded.trim_end().rsplit_once(' ').unwrap();
        assert_eq!(time.parse(), Ok(finding.total.as_micros()));
        assert!(stack.starts_with(&finding.task.kind) && stack.ends_with(";[sleep]"), "{stack}");
        assert!(stack.contains(";chat::flood::throttle (src/flood.rs:31);"), "{stack}");
        assert!(!stack.contains("tokio::runtime"), "frames of the runtime must be removed: {stack}");
    }

    /// Code of a dependency may block before the application's begins.
    #[test]
    fn the_runtime_is_left_out_without_a_frame_of_the_application() {
        let mut finding = sample::sleep();
        for frame in finding.stack.iter_mut().filter(|frame| frame.kind == FrameKind::Application) {
            frame.kind = FrameKind::Dependency;
        }
        assert_eq!(frames_of_task(&finding.stack).len(), finding.stack.len() - 1);
        finding.stack.retain(|frame| frame.kind != FrameKind::Dependency);
        assert_eq!(frames_of_task(&finding.stack).len(), finding.stack.len(), "nothing else is known");
    }

    #[test]
    fn separators_in_names_are_replaced() {
        let mut finding = sample::sleep();
        finding.task.kind = "a;b\nc 1".to_owned();
        finding.stack.clear();
        let folded = folded_lines(&finding, label).concat();
        assert_eq!(folded.lines().count(), 1);
        assert!(folded.starts_with("a_b_c 1;(no stack);[sleep] "), "{folded}");
    }

    #[test]
    fn each_task_kind_has_its_own_time() {
        let mut finding = sample::sleep();
        let share = |kind: &str, count, ms| TaskShare {
            kind: kind.to_owned(),
            spawned_at: None,
            count,
            total: Duration::from_millis(ms),
        };
        finding.tasks = vec![share("reader", 9, 2_000), share("writer", 3, 410)];
        let document = sample::document(vec![finding.clone()]);
        let folded = folded(&document);
        let times: Vec<_> =
            folded.lines().map(|line| (line.split(';').next(), line.rsplit(' ').next())).collect();
        assert_eq!(times, [(Some("reader"), Some("2000000")), (Some("writer"), Some("410000"))]);
        let profile = decoded(&document);
        let values: Vec<_> = profile.sample.iter().map(|sample| &*sample.value).collect();
        assert_eq!(values, [[9, 2_000_000_000], [3, 410_000_000]]);
        let task = profile.string_table.iter().position(|text| text == "task").unwrap() as i64;
        let task_of = |sample: &Sample| sample.label.iter().find(|label| label.key == task).unwrap().str;
        let tasks = profile.sample.iter().map(|sample| &*profile.string_table[task_of(sample) as usize]);
        assert_eq!(tasks.collect::<Vec<_>>(), ["reader", "writer"]);
    }

    #[test]
    fn a_flame_graph_cuts_the_path_before_the_function() {
        let flame_graph = String::from_utf8(svg(&document()).unwrap()).unwrap();
        assert!(flame_graph.contains(">src/flood.rs:31 chat::flood::throttle ("), "{flame_graph}");
        assert!(flame_graph.contains("truncate_text_right = false"), "{flame_graph}");
    }

    #[test]
    fn a_flame_graph_has_the_same_colours_each_time() {
        let mut other = sample::sleep();
        other.task.kind = "other".to_owned();
        let document = sample::document(vec![sample::sleep(), other]);
        let first = svg(&document).unwrap();
        assert_eq!(svg(&document).unwrap(), first);
        let first = String::from_utf8(first).unwrap();
        let colours = first.split("fill=\"rgb(").skip(1).map(|rest| rest.split('"').next());
        let distinct: std::collections::HashSet<_> = colours.collect();
        assert!(distinct.len() > 3, "frames of different names differ: {distinct:?}");
    }

    #[test]
    fn a_flame_graph_without_findings_is_drawn() {
        let flame_graph = svg(&sample::document(Vec::new())).unwrap();
        assert!(String::from_utf8(flame_graph).unwrap().contains("(no findings)"));
    }

    #[test]
    fn a_flame_graph_escapes_names() {
        let mut finding = sample::sleep();
        finding.task.kind = "<script>alert(1)</script>".to_owned();
        let flame_graph = String::from_utf8(svg(&sample::document(vec![finding])).unwrap()).unwrap();
        assert!(flame_graph.contains("&lt;script&gt;alert(1)"), "the name must be shown");
        assert!(!flame_graph.contains("<script>alert"), "the name must not be a script");
    }

    fn decoded(document: &FindingsDocument) -> Profile {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*pprof(document).unwrap()).read_to_end(&mut bytes).unwrap();
        Profile::decode(&*bytes).unwrap()
    }

    #[test]
    fn a_pprof_profile_contains_stack_and_time() {
        let profile = decoded(&document());
        let finding = sample::sleep();
        let text = |index: i64| &*profile.string_table[index as usize];
        let sample = &profile.sample[0];
        assert_eq!(sample.value, [finding.count as i64, finding.total.as_nanos() as i64]);
        assert_eq!(sample.location_id.len(), finding.stack.len() - 1, "the runtime's frame must be left out");
        for (id, frame) in sample.location_id.iter().zip(&finding.stack) {
            let location = profile.location.iter().find(|location| location.id == *id).unwrap();
            let line = location.line[0];
            let function = profile.function.iter().find(|function| function.id == line.function_id).unwrap();
            assert_eq!(text(function.name), frame.function);
            assert_eq!(text(function.system_name), "", "pprof must not demangle the name");
            assert_eq!(line.line, i64::from(frame.line.unwrap_or(0)));
            assert_eq!(location.mapping_id, profile.mapping[0].id);
        }
        assert_eq!(text(profile.default_sample_type), "blocked");
        assert_eq!(text(profile.mapping[0].filename), "/usr/bin/chat");
    }

    #[test]
    fn a_sample_without_a_stack_has_a_location() {
        let mut finding = sample::sleep();
        finding.stack.clear();
        let profile = decoded(&sample::document(vec![finding]));
        assert_eq!(profile.sample[0].location_id, [1]);
        assert_eq!(profile.string_table[profile.function[0].name as usize], NO_STACK);
    }
}
