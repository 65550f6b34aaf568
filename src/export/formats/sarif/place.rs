//! Where a result is shown: a file of the repository, and a line in it.

use serde::Serialize;

use crate::finding::{Evidence, Finding, FrameKind};
use crate::report::source_line;
use crate::source_path;

/// The root of the repository, to which all paths are relative.
pub(super) const SOURCE_ROOT: &str = "%SRCROOT%";

/// The line of the repository that a finding belongs to.
#[derive(Debug)]
pub(super) struct Place {
    /// The path relative to the workspace.
    pub(super) file: String,
    /// The line, counted from 1. `None` if only the file is known.
    pub(super) line: Option<u32>,
    /// The column of the call, counted from 1: in characters where a task is
    /// spawned, else in bytes.
    pub(super) column: Option<u32>,
    pub(super) relation: Relation,
}

/// What the line is to the stalls of the finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// It is the line to change.
    Site,
    /// It calls the function that blocks, whose own line is not known.
    Caller,
    /// It spawns the task.
    Spawn,
}

impl Place {
    /// Returns the most exact place that is known of a finding. `None` if it
    /// belongs to no known file of the repository.
    pub(super) fn of(finding: &Finding) -> Option<Self> {
        Self::site(finding).or_else(|| Self::caller(finding)).or_else(|| Self::spawn(finding))
    }

    fn site(finding: &Finding) -> Option<Self> {
        let site = finding.site.as_ref()?;
        let file = in_repository(site.file.as_deref()?)?;
        let line = valid_line(site.line);
        let column = valid_line(site.column).filter(|_| line.is_some());
        Some(Self { file, line, column, relation: Relation::Site })
    }

    /// Only an exact stack shows who called: outer frames of others may be left
    /// over from earlier calls.
    fn caller(finding: &Finding) -> Option<Self> {
        let frames = finding.stack.iter().filter(|frame| frame.kind == FrameKind::Application);
        let mut frames = frames.filter(|_| finding.evidence == Evidence::Stack);
        frames.find_map(|frame| {
            let file = in_repository(frame.file.as_deref()?)?;
            let line = valid_line(frame.line)?;
            Some(Self { file, line: Some(line), column: None, relation: Relation::Caller })
        })
    }

    fn spawn(finding: &Finding) -> Option<Self> {
        let most_blocking = finding.tasks.first().and_then(|share| share.spawned_at.as_deref());
        let location = most_blocking.or(finding.task.spawned_at.as_deref())?;
        let mut parts = location.rsplitn(3, ':');
        let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
        if source_path::is_in_downloaded_package(file) {
            return None;
        }
        let line = valid_line(line.parse().ok())?;
        let column = valid_line(column.parse().ok());
        Some(Self { file: in_repository(file)?, line: Some(line), column, relation: Relation::Spawn })
    }
}

impl Place {
    /// Returns the whole line, if it is readable and has code at the column.
    /// Else the file has changed since it was compiled.
    fn source(&self) -> Option<String> {
        let source = source_line::read_whole(&self.file, self.line?)?;
        let column = self.column.filter(|_| self.relation == Relation::Site);
        column.is_none_or(|column| source_line::code_at(&source, column).is_some()).then_some(source)
    }

    /// `source` is the whole line, if it is readable.
    fn column_in_chars(&self, source: Option<&str>) -> Option<u32> {
        match self.relation {
            Relation::Spawn => self.column,
            Relation::Site | Relation::Caller => source_line::column_in_chars(source?, self.column?),
        }
    }
}

impl PhysicalLocation {
    /// Returns the location with the text of its line, if the source is
    /// readable. Code scanning requires a line: if none is known, it is the
    /// first of the file, and the message of the result says so.
    pub(super) fn with_source(place: &Place) -> Self {
        let source = place.source();
        let mut location = Self::new(&place.file, place.line.unwrap_or(1));
        location.region.start_column = place.column_in_chars(source.as_deref());
        let Some(line) = source.as_deref().map(source_line::excerpt) else { return location };
        // The region ends with the line. Its text begins at the column.
        let skipped = location.region.start_column.map_or(0, |column| column.saturating_sub(1));
        let text: String = line.chars().skip(skipped as usize).collect();
        location.region.snippet = (!text.is_empty()).then_some(Snippet { text });
        if skipped > 0 {
            let snippet = Some(Snippet { text: line });
            location.context_region = Some(Region { start_column: None, snippet, ..location.region });
        }
        location
    }

    pub(super) fn new(file: &str, start_line: u32) -> Self {
        Self {
            artifact_location: ArtifactLocation { uri: uri(file), uri_base_id: SOURCE_ROOT },
            region: Region { start_line, start_column: None, snippet: None },
            context_region: None,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    region: Region,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_region: Option<Region>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactLocation {
    uri: String,
    uri_base_id: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snippet: Option<Snippet>,
}

#[derive(Debug, Serialize)]
struct Snippet {
    text: String,
}

/// Returns a line or column number that readers accept: positive, and at most
/// that of a signed number of 32 bits.
pub(super) fn valid_line(line: Option<u32>) -> Option<u32> {
    line.filter(|line| (1..=i32::MAX as u32).contains(line))
}

/// Returns a path relative to the workspace in its shortest form. `None` if the
/// file is not in the repository: it is outside of the workspace, or a build
/// script wrote it.
pub(super) fn in_repository(path: &str) -> Option<String> {
    let path = path.replace('\\', "/");
    let has_drive = path.as_bytes().get(1) == Some(&b':');
    if path.starts_with(['/', '~', '<']) || has_drive {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    // As in `target/debug/build/NAME-0123456789abcdef/out/bindings.rs`.
    let is_generated = parts.windows(3).any(|window| window[0] == "build" && window[2] == "out");
    (!parts.is_empty() && !is_generated).then(|| parts.join("/"))
}

/// Converts a relative path to a URI reference.
pub(super) fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
