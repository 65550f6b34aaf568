//! Reading a report that was written before.
//!
//! A comparison needs few fields, so that any program can write a document to
//! compare: [`read`] fills in the others. A merge needs all fields, so
//! [`read_whole`] fails if one is missing.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

use super::document::{Report, SCHEMA};

/// The fields of a shard that a merge does not use.
const UNUSED_BY_MERGE: [&str; 4] = ["version", "command", "objectives", "exit_code"];

/// Documents of loopscope inside a report. Their types define which of their
/// fields may be missing, so their fields are not checked here.
const LOOPSCOPE_DOCUMENTS: [&str; 2] = ["findings", "stalls"];

/// Reads the report in the file `path`.
///
/// # Errors
///
/// If the file cannot be read, or is not a report of this schema.
pub(crate) fn read(path: &Path) -> anyhow::Result<Report> {
    let (name, text) = contents(path)?;
    parse(&text, &name)
}

/// Reads the report in the file `path`, of which no field may be missing.
///
/// # Errors
///
/// If the file cannot be read, is not a report of this schema, or lacks a
/// field.
pub(crate) fn read_whole(path: &Path) -> anyhow::Result<Report> {
    let (name, text) = contents(path)?;
    let report = parse(&text, &name)?;
    let document: Value = serde_json::from_slice(&text)?;
    if let Some(field) = missing_field(&document, &serde_json::to_value(&report)?) {
        bail!("{name} has no field `{field}`; write it again with `loadgen run --json FILE`");
    }
    Ok(report)
}

/// Parses a report; `name` says in errors where `text` comes from.
///
/// # Errors
///
/// If `text` is not a report of this schema.
pub(crate) fn parse(text: &[u8], name: &str) -> anyhow::Result<Report> {
    #[derive(Deserialize)]
    struct Schema {
        schema: String,
    }
    let Schema { schema } = serde_json::from_slice(text)
        .with_context(|| format!("{name} is not a report as `loadgen run --json FILE` writes it"))?;
    if schema != SCHEMA {
        bail!("{name} has the schema `{schema}` instead of `{SCHEMA}`");
    }
    serde_json::from_slice(text).with_context(|| format!("{name} does not match the schema `{SCHEMA}`"))
}

fn contents(path: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    let name = path.display().to_string();
    let text = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
    Ok((name, text))
}

/// Returns the path of the first field that is in `complete` but not in
/// `document`. A field whose value is null may be missing.
fn missing_field(document: &Value, complete: &Value) -> Option<String> {
    match (document, complete) {
        (Value::Object(document), Value::Object(complete)) => {
            complete.iter().find_map(|(name, value)| match document.get(name) {
                Some(_) if LOOPSCOPE_DOCUMENTS.contains(&name.as_str()) => None,
                Some(field) => missing_field(field, value).map(|inner| format!("{name}.{inner}")),
                None if value.is_null() || UNUSED_BY_MERGE.contains(&name.as_str()) => None,
                None => Some(name.clone()),
            })
        }
        (Value::Array(document), Value::Array(complete)) => {
            document.iter().zip(complete).find_map(|(document, complete)| missing_field(document, complete))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::document::RunOutcome;

    /// The fields that a comparison needs, and no others.
    fn minimal_document() -> Value {
        json!({
            "schema": SCHEMA,
            "target": "127.0.0.1:6667",
            "settings": {
                "connections": 10, "rooms": 2, "rate": 100.0, "arrivals": "constant", "duration_seconds": 1.0,
                "churn": 0.0, "payload_bytes": 80, "mix": {"privmsg": 1},
            },
            "load": {
                "deliveries": {"expected": 400, "lost": 3},
                "histograms": {"latency": "", "service": "", "send_lag": "", "latency_slices": []},
            },
            "verdict": {"outcome": "held", "reasons": []},
        })
    }

    fn parsed(document: &Value) -> anyhow::Result<Report> {
        parse(document.to_string().as_bytes(), "a.json")
    }

    #[test]
    fn a_document_with_only_the_compared_fields_is_read() {
        let report = parsed(&minimal_document()).expect("a report");
        assert_eq!((report.load.deliveries.lost, report.load.deliveries.delivered), (3, 0));
        assert!(report.findings.is_none() && report.load.stages.is_empty());
    }

    #[test]
    fn an_outcome_that_another_program_wrote_is_read() {
        let mut document = minimal_document();
        document["verdict"]["outcome"] = json!("passed");
        assert_eq!(parsed(&document).expect("a report").verdict.outcome, RunOutcome::Unknown);
    }

    #[test]
    fn a_document_without_a_compared_field_is_refused() {
        for pointer in
            ["/target", "/settings/mix", "/load/histograms", "/load/deliveries/lost", "/verdict/reasons"]
        {
            let mut document = minimal_document();
            let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
            let parent = document.pointer_mut(parent).and_then(Value::as_object_mut).expect(pointer);
            parent.remove(field).expect(pointer);
            let error = format!("{:#}", parsed(&document).expect_err(pointer));
            assert!(error.contains("a.json does not match the schema") && error.contains(field), "{error}");
        }
    }

    #[test]
    fn an_error_about_the_schema_contains_both_names() {
        let mut document = minimal_document();
        document["schema"] = json!("loadgen.report/2");
        let error = parsed(&document).expect_err("another schema").to_string();
        assert_eq!(error, "a.json has the schema `loadgen.report/2` instead of `loadgen.report/1`");
        assert!(parse(b"nonsense", "a.json").is_err());
    }

    #[test]
    fn a_field_that_a_merge_uses_must_be_present() {
        let document = minimal_document();
        let read = serde_json::to_value(parsed(&document).expect("a report")).expect("JSON");
        assert_eq!(missing_field(&document, &read).as_deref(), Some("generator"));
        let mut whole = read.clone();
        for field in UNUSED_BY_MERGE {
            whole.as_object_mut().expect("an object").remove(field);
        }
        assert_eq!(missing_field(&whole, &read), None);
        whole["load"]["commands"].as_object_mut().expect("an object").remove("late");
        assert_eq!(missing_field(&whole, &read).as_deref(), Some("load.commands.late"));
    }
}
