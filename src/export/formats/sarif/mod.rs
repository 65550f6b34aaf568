//! Writes findings as SARIF 2.1.0. Code review and CI services show them next
//! to the source line.
//!
//! GitHub's code scanning refuses a whole file if one of its results has no
//! location. Therefore a finding that no line of the repository belongs to is a
//! notification of the run instead of a result.

pub(crate) mod fingerprints;
mod place;
mod result;
mod rules;
#[cfg(test)]
mod tests;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::export::formats::sarif::fingerprints::Fingerprints;
use crate::export::formats::sarif::place::{Place, SOURCE_ROOT};
use crate::export::formats::sarif::result::SarifResult;
use crate::finding::{Finding, FindingsDocument};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Returns the findings as SARIF. The document is created while it is
/// serialised, one result after another, and reads source lines from disk.
/// `fingerprints` are those of all findings of the process, of which the
/// document may have a part.
pub(crate) fn document<'d>(document: &'d FindingsDocument, fingerprints: &'d Fingerprints) -> impl Serialize {
    let (located, unlocated) = split_by_place(&document.findings, fingerprints);
    Log { run: Run { document, located, unlocated } }
}

struct Log<'d> {
    run: Run<'d>,
}

struct Run<'d> {
    document: &'d FindingsDocument,
    located: Vec<Located<'d>>,
    unlocated: Vec<&'d Finding>,
}

/// A finding, and where its result is shown.
struct Located<'d> {
    finding: &'d Finding,
    place: Place,
    fingerprint: &'d str,
}

fn split_by_place<'d>(
    findings: &'d [Finding],
    fingerprints: &'d Fingerprints,
) -> (Vec<Located<'d>>, Vec<&'d Finding>) {
    let (mut located, mut unlocated) = (Vec::new(), Vec::new());
    for finding in findings {
        match Place::of(finding) {
            Some(place) => {
                located.push(Located { finding, place, fingerprint: fingerprints.of(finding) });
            }
            None => unlocated.push(finding),
        }
    }
    (located, unlocated)
}

impl Serialize for Log<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut log = serializer.serialize_struct("sarifLog", 3)?;
        log.serialize_field("$schema", SCHEMA)?;
        log.serialize_field("version", "2.1.0")?;
        log.serialize_field("runs", &[&self.run])?;
        log.end()
    }
}

impl Serialize for Run<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut run = serializer.serialize_struct("run", 7)?;
        run.serialize_field("tool", &json!({ "driver": driver(&self.document.process.loopscope) }))?;
        run.serialize_field("automationDetails", &automation_details(self.document))?;
        run.serialize_field("invocations", &[self.invocation()])?;
        run.serialize_field("originalUriBaseIds", &uri_bases())?;
        run.serialize_field("columnKind", "unicodeCodePoints")?;
        run.serialize_field("results", &Results(&self.located))?;
        run.serialize_field("properties", &properties(self.document))?;
        run.end()
    }
}

/// Serialises one result after another.
struct Results<'r, 'd>(&'r [Located<'d>]);

impl Serialize for Results<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|located| {
            let Located { finding, place, fingerprint } = located;
            SarifResult::new(finding, place, fingerprint)
        }))
    }
}

impl Run<'_> {
    /// Returns the invocation, with what the results do not contain.
    fn invocation(&self) -> Value {
        let lost = (self.document.dropped > 0).then(|| lost_observations(self.document.dropped));
        let unlocated = self.unlocated.iter().map(|finding| {
            json!({
                "descriptor": { "id": rules::NO_LOCATION, "index": 0 },
                "associatedRule": { "id": rules::id(finding.cause), "index": rules::index(finding.cause) },
                "level": "warning",
                "message": { "text": result::message_without_place(finding) },
                "properties": { "findingId": finding.id },
            })
        });
        let notifications: Vec<_> = lost.into_iter().chain(unlocated).collect();
        json!({
            "executionSuccessful": true,
            "processId": self.document.process.pid,
            "toolExecutionNotifications": notifications,
        })
    }
}

fn lost_observations(dropped: u64) -> Value {
    let text = format!("Lost observations: {dropped}. The counts of the results are lower bounds.");
    json!({
        "descriptor": { "id": rules::LOST_OBSERVATIONS, "index": 1 },
        "level": "note",
        "message": { "text": text },
    })
}

fn driver(version: &str) -> Value {
    json!({
        "name": "loopscope",
        "semanticVersion": version,
        "informationUri": env!("CARGO_PKG_REPOSITORY"),
        "shortDescription": { "text": env!("CARGO_PKG_DESCRIPTION") },
        "rules": rules::all(),
        "notifications": rules::notifications(),
    })
}

/// Returns the category of the document: an upload of another service does not
/// replace it. GitHub takes the text before the last slash as the category.
fn automation_details(document: &FindingsDocument) -> Value {
    let service = program(document);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let id: String = service.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let id = if id.is_empty() { "unknown" } else { &*id };
    json!({
        "id": format!("loopscope/{id}/"),
        "description": { "text": "What blocked the event loop of a process while it ran." },
    })
}

/// Returns the name of the program, without the folders of its machine.
fn program(document: &FindingsDocument) -> &str {
    let path = document.process.program.trim_end_matches(" (deleted)");
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    name.strip_suffix(".exe").unwrap_or(name)
}

fn uri_bases() -> Value {
    json!({ SOURCE_ROOT: {
        "description": { "text": "The root of the workspace that the program was compiled in." },
    } })
}

fn properties(document: &FindingsDocument) -> Value {
    json!({
        "program": program(document),
        "thresholdSeconds": document.threshold.as_secs_f64(),
        "dropped": document.dropped,
    })
}
