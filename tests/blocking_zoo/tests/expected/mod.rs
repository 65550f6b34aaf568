//! Reads from an entry's source what must be found, and compares it with what
//! was found.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fmt, fs};

use serde_json::Value;

/// The marked lines of one entry.
#[derive(Debug)]
pub(crate) struct Expected {
    file: String,
    marks: Vec<Mark>,
}

#[derive(Debug)]
struct Mark {
    /// None if only the function is certain.
    line: Option<u64>,
    /// None for a further line of a loop.
    cause_and_call: Option<(String, String)>,
}

impl Expected {
    pub(crate) fn read(name: &str, path: &Path) -> Self {
        let source = fs::read_to_string(path).expect("each entry has a file of its name");
        let (file, source) = if source.contains("native.c has the line") {
            let native = path.with_file_name("../native.c");
            let source = fs::read_to_string(native).expect("the C library");
            // Only the function that this entry calls.
            let function = match name {
                "c_library" => "void native_sleep",
                "c_vfork" => "void native_vfork",
                _ => "int wait_longer",
            };
            let skipped = source.split(function).next().unwrap_or_default().lines().count();
            let blank = "\n".repeat(skipped.saturating_sub(1));
            let body: Vec<_> =
                source.lines().skip(skipped.saturating_sub(1)).take_while(|line| *line != "}").collect();
            ("tests/blocking_zoo/src/native.c".to_owned(), blank + &body.join("\n"))
        } else if source.contains("zoo-merged has the line") {
            let merged = path.with_file_name(format!("../../merged/src/{name}.rs"));
            let source = fs::read_to_string(merged).expect("each entry has a file of its name");
            (format!("tests/blocking_zoo/merged/src/{name}.rs"), source)
        } else {
            (format!("tests/blocking_zoo/src/entries/{name}.rs"), source)
        };
        Self { file, marks: marks(&source) }
    }

    /// Returns what is wrong with the findings, if anything.
    pub(crate) fn compare(&self, findings: &[Value]) -> Option<String> {
        if findings.is_empty() {
            return Some("nothing was found".to_owned());
        }
        let wrong = findings.iter().find_map(|finding| self.fault(finding));
        wrong.or_else(|| self.missing(findings))
    }

    fn fault(&self, finding: &Value) -> Option<String> {
        let site = &finding["site"];
        if site["file"] != self.file.as_str() {
            return Some(format!("the file is {}", site["file"]));
        }
        let of_line = || self.marks.iter().filter(|mark| mark.line == site["line"].as_u64());
        if of_line().next().is_none() {
            return Some(format!("line {} is not marked", site["line"]));
        }
        // The call of a computation is named only if every sample has it; a
        // computation without a name is right, too.
        let is_this = |(cause, call): &(String, String)| {
            let named = finding["primitive"].as_str();
            let is_unnamed = cause == "cpu" && named.is_none();
            finding["cause"] == cause.as_str() && (named.unwrap_or("-") == call || is_unnamed)
        };
        let fits = |mark: &Mark| match &mark.cause_and_call {
            Some(cause_and_call) => is_this(cause_and_call),
            // A further line of a loop has the cause of the loop and any call.
            None => self
                .marks
                .iter()
                .filter_map(|mark| mark.cause_and_call.as_ref())
                .any(|(cause, _)| finding["cause"] == cause.as_str()),
        };
        // A line may make several calls.
        (!of_line().any(fits)).then(|| format!("found {}", summary(finding)))
    }

    /// An entry that blocks in two places, each in a separate task, must be
    /// found in both.
    fn missing(&self, findings: &[Value]) -> Option<String> {
        let causes =
            self.marks.iter().filter_map(|mark| mark.cause_and_call.as_ref()).map(|(cause, _)| cause);
        let is_found = |cause: &String| findings.iter().any(|finding| finding["cause"] == cause.as_str());
        // A computation may be found besides, but not instead.
        if let Some(cause) = { causes }.find(|cause| *cause == "hog" && !is_found(cause)) {
            return Some(format!("no {cause} was found"));
        }
        let place_of =
            |finding: &Value| (finding["task"]["kind"].to_string(), finding["site"]["line"].as_u64());
        let found: BTreeSet<_> = findings.iter().map(place_of).collect();
        let waits = self.marks.iter().filter_map(|mark| mark.cause_and_call.as_ref());
        let waits = waits.filter(|(cause, _)| cause == "lock");
        let places = waits.count().max(1);
        (found.len() < places).then(|| format!("{} of {places} places found", found.len()))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((line, (cause, call))) =
            self.marks.iter().find_map(|mark| mark.cause_and_call.as_ref().map(|pair| (mark.line, pair)))
        else {
            return f.pad("nothing is marked");
        };
        let line = line.map_or("null".to_owned(), |line| line.to_string());
        f.pad(&format!("{cause} {call} :{line}"))
    }
}

/// A mark stands at the end of its line or alone on the line above.
fn marks(source: &str) -> Vec<Mark> {
    let lines = source.lines().enumerate().filter_map(|(index, line)| {
        let (code, mark) = line.split_once("// BLOCKS")?;
        let in_function = mark.strip_prefix(" IN THIS FUNCTION");
        let line = index as u64 + if code.trim().is_empty() { 2 } else { 1 };
        let line = in_function.is_none().then_some(line);
        let mark = in_function.unwrap_or(mark);
        let pair = mark.strip_prefix(": ").and_then(|text| text.split_once(' '));
        let cause_and_call = pair.map(|(cause, call)| (cause.to_owned(), call.trim().to_owned()));
        Some(Mark { line, cause_and_call })
    });
    lines.collect()
}

pub(crate) fn summary(finding: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    format!("{} {} :{}", text(&finding["cause"]), text(&finding["primitive"]), finding["site"]["line"])
}

pub(crate) fn stacks(findings: &[Value]) -> String {
    let mut text = String::new();
    for finding in findings {
        text += &format!("  {} ({}, {})\n", summary(finding), finding["evidence"], finding["task"]["kind"]);
        for frame in finding["stack"].as_array().into_iter().flatten().take(24) {
            text += &format!(
                "    {:12} {} {}:{}\n",
                frame["kind"], frame["function"], frame["file"], frame["line"]
            );
        }
    }
    text
}
