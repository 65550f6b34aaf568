//! Writes findings as SARIF 2.1.0. Code review and CI services show them next
//! to the source line.

use serde_json::{Value, json};

use crate::finding::{Cause, Finding, FindingsDocument, Frame};
use crate::report;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

pub(crate) fn document(document: &FindingsDocument) -> Value {
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "loopscope",
                "semanticVersion": document.process.loopscope,
                "rules": Cause::ALL.iter().copied().map(rule).collect::<Vec<_>>(),
            } },
            "columnKind": "unicodeCodePoints",
            "properties": {
                "program": document.process.program,
                "thresholdSeconds": document.threshold.as_secs_f64(),
                "dropped": document.dropped,
            },
            "results": document.findings.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn rule(cause: Cause) -> Value {
    json!({
        "id": format!("blocking/{cause}"),
        "shortDescription": { "text": format!("An event loop was blocked: {cause}") },
    })
}

fn result(finding: &Finding) -> Value {
    let location =
        |file: Option<&str>, line: Option<u32>| physical_location(file, line).into_iter().collect::<Vec<_>>();
    let site = finding.site.as_ref();
    json!({
        "ruleId": format!("blocking/{}", finding.cause),
        "level": "warning",
        "message": { "text": format!("{}. {}", report::text::title(finding), finding.advice) },
        "locations": site.map(|site| location(site.file.as_deref(), site.line)).unwrap_or_default(),
        "stacks": [{
            "message": { "text": format!("evidence: {}", finding.evidence) },
            "frames": finding.stack.iter().map(frame).collect::<Vec<_>>(),
        }],
        "partialFingerprints": { "loopscopeFinding/1": finding.id },
        "occurrenceCount": finding.count.max(1),
        "properties": {
            "task": finding.task.kind,
            "recovered": site.is_some_and(|site| site.recovered),
            "totalSeconds": finding.total.as_secs_f64(),
            "maxSeconds": finding.max.as_secs_f64(),
            "victimTasks": finding.victims.tasks,
            "victimWaits": finding.victims.waits,
            "victimDelaySeconds": finding.victims.delay.as_secs_f64(),
            "driverHeld": finding.victims.driver_held,
        },
    })
}

fn frame(frame: &Frame) -> Value {
    let mut location = physical_location(frame.file.as_deref(), frame.line).unwrap_or_else(|| json!({}));
    location["logicalLocations"] = json!([{ "fullyQualifiedName": frame.function }]);
    let mut frame_object = json!({ "location": location });
    if frame.recovered {
        frame_object["properties"] = json!({ "recovered": true });
    }
    frame_object
}

fn physical_location(file: Option<&str>, line: Option<u32>) -> Option<Value> {
    let mut location = json!({ "artifactLocation": { "uri": uri(file?) } });
    if let Some(line) = line.filter(|line| *line > 0) {
        location["region"] = json!({ "startLine": line });
    }
    Some(json!({ "physicalLocation": location }))
}

/// Converts a path to a URI reference. Relative paths stay relative, because
/// services compare them with the files of a checkout.
fn uri(path: &str) -> String {
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_finding_becomes_a_result_at_its_line() {
        let mut finding = sample::sleep();
        finding.stack[2].recovered = true;
        let site = finding.site.clone().unwrap();
        let document = document(&sample::document(vec![finding.clone()]));
        let result = &document["runs"][0]["results"][0];
        let location = &result["locations"][0]["physicalLocation"];
        assert_eq!(location["artifactLocation"]["uri"], site.file.unwrap());
        assert_eq!(location["region"]["startLine"], site.line.unwrap());
        assert_eq!(result["ruleId"], "blocking/sleep");
        assert_eq!(result["partialFingerprints"]["loopscopeFinding/1"], finding.id);
        let frames = result["stacks"][0]["frames"].as_array().unwrap();
        assert_eq!(frames.len(), finding.stack.len());
        assert_eq!(frames[2]["properties"]["recovered"], true);
        assert_eq!(frames[3].get("properties"), None);
        let rules = document["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
        assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]));
    }

    #[test]
    fn paths_become_uri_references() {
        assert_eq!(uri("src/main.rs"), "src/main.rs");
        assert_eq!(uri("/a b/ü.rs"), "file:///a%20b/%C3%BC.rs");
    }
}
