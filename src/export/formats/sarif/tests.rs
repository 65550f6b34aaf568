use std::collections::HashSet;

use super::*;
use crate::export::formats::sarif::place::{self, Relation};
use crate::finding::{Cause, Evidence, Frame, FrameKind};
use crate::report::sample;

/// GitHub cuts or refuses longer descriptions.
const MAX_DESCRIPTION_CHARS: usize = 1_024;

/// Returns the text of the document of all findings.
fn text_of(document: &FindingsDocument) -> String {
    serde_json::to_string(&super::document(document, &Fingerprints::new(&document.findings))).unwrap()
}

fn log_of(document: &FindingsDocument) -> Value {
    serde_json::from_str(&text_of(document)).unwrap()
}

fn log(findings: Vec<Finding>) -> Value {
    let text = text_of(&sample::document(findings));
    for path in ["/home/", "/root/", "/usr/", "/rustc/", ".cargo", "registry/src"] {
        assert!(!text.contains(path), "{path} is of the machine: {text}");
    }
    serde_json::from_str(&text).unwrap()
}

fn results(log: &Value) -> &Vec<Value> {
    log["runs"][0]["results"].as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

fn one_result(finding: Finding) -> Value {
    let log = log(vec![finding]);
    assert_is_accepted(&log);
    results(&log)[0].clone()
}

/// Checks what the standard and code scanning require of every document.
fn assert_is_accepted(log: &Value) {
    assert_eq!((text(&log["version"]), text(&log["$schema"])), ("2.1.0", SCHEMA));
    let run = &log["runs"][0];
    assert_eq!(run["invocations"][0]["executionSuccessful"], true);
    let (category, run_id) = text(&run["automationDetails"]["id"]).rsplit_once('/').unwrap();
    assert!(category.starts_with("loopscope/") && run_id.is_empty(), "{category}");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    rules.iter().for_each(assert_is_rule);
    run["tool"]["driver"]["notifications"].as_array().unwrap().iter().for_each(assert_is_descriptor);
    let mut fingerprints = HashSet::new();
    for result in results(log) {
        let rule = &rules[result["ruleIndex"].as_u64().unwrap() as usize];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(["note", "warning"].contains(&text(&result["level"])), "{result}");
        assert_is_message(&result["message"]);
        assert_eq!(result["locations"].as_array().unwrap().len(), 1, "{result}");
        assert_is_location(run, &result["locations"][0]["physicalLocation"]);
        let frames = result["stacks"][0]["frames"].as_array();
        for frame in frames.into_iter().flatten() {
            assert!(!text(&frame["location"]["logicalLocations"][0]["fullyQualifiedName"]).is_empty());
            if let Some(location) = frame["location"].get("physicalLocation") {
                assert_is_location(run, location);
            }
        }
        let fingerprint = text(&result["partialFingerprints"]["primaryLocationLineHash"]);
        assert!(fingerprints.insert(fingerprint.to_owned()), "{fingerprint} is not unique");
    }
}

fn assert_is_descriptor(rule: &Value) {
    let name = text(&rule["name"]);
    assert!(name.chars().all(|c| c.is_ascii_alphabetic()) && name.starts_with(|c: char| c.is_uppercase()));
    for description in ["shortDescription", "fullDescription", "help"] {
        let text = text(&rule[description]["text"]);
        assert!(text.ends_with('.') && text.len() <= MAX_DESCRIPTION_CHARS, "{rule}");
    }
    assert!(text(&rule["help"]["markdown"]).contains("**What to do.**"), "{rule}");
    assert!(text(&rule["helpUri"]).starts_with("https://"), "{rule}");
    assert_eq!(rule["defaultConfiguration"]["level"], "warning");
}

fn assert_is_rule(rule: &Value) {
    assert_is_descriptor(rule);
    let properties = &rule["properties"];
    assert!((1..=20).contains(&properties["tags"].as_array().unwrap().len()), "{rule}");
    assert!(["very-high", "high", "medium", "low"].contains(&text(&properties["precision"])), "{rule}");
    assert!(["error", "warning", "recommendation"].contains(&text(&properties["problem.severity"])));
}

fn assert_is_message(message: &Value) {
    let text = text(&message["text"]);
    assert!(!text.starts_with(char::is_lowercase) && text.ends_with(['.', '…']), "not a sentence: {text}");
    assert!(!text.contains("](") && !text.contains(char::is_control), "{text:?}");
    assert!(!text.contains(['{', '}']), "readers take it for a placeholder: {text}");
}

fn assert_is_location(run: &Value, location: &Value) {
    let artifact = &location["artifactLocation"];
    let uri = text(&artifact["uri"]);
    let is_valid = |c: char| c.is_ascii_alphanumeric() || "/.-_~%".contains(c);
    assert!(!uri.is_empty() && uri.chars().all(is_valid) && !uri.starts_with('/'), "{uri:?}");
    assert!(uri.split('/').all(|part| !["", ".", ".."].contains(&part)), "{uri:?}");
    assert!(run["originalUriBaseIds"].get(text(&artifact["uriBaseId"])).is_some(), "{artifact}");
    for number in ["startLine", "startColumn"] {
        let number = location["region"].get(number).map_or(1, |number| number.as_u64().unwrap());
        assert!((1..=0x7FFF_FFFF).contains(&number), "{location}");
    }
    assert!(location["region"].get("startLine").is_some(), "{location}");
}

fn without_lines(mut finding: Finding) -> Finding {
    let site = finding.site.as_mut().unwrap();
    (site.file, site.line) = (None, None);
    for frame in &mut finding.stack {
        (frame.file, frame.line) = (None, None);
    }
    finding
}

fn without_spawn_location(mut finding: Finding) -> Finding {
    finding.task.spawned_at = None;
    finding.tasks[0].spawned_at = None;
    finding
}

fn notifications(log: &Value) -> &Vec<Value> {
    log["runs"][0]["invocations"][0]["toolExecutionNotifications"].as_array().unwrap()
}

#[test]
fn a_finding_becomes_a_result_at_its_line() {
    let mut finding = sample::sleep();
    finding.stack[2].recovered = true;
    let result = one_result(finding.clone());
    let location = &result["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "src/flood.rs");
    assert_eq!(location["region"]["startLine"], 31);
    assert_eq!((&result["ruleId"], &result["level"]), (&json!("blocking/sleep"), &json!("warning")));
    assert_eq!(result["properties"]["findingId"], finding.id);
    assert_eq!(
        result["message"]["text"],
        "`std::thread::sleep` blocked the event loop 12 times, 2.41 s in all, 212 ms at most. \
         Use `tokio::time::sleep(..).await`."
    );
    let frames = result["stacks"][0]["frames"].as_array().unwrap();
    assert_eq!(frames.len(), finding.stack.len() - 1, "the runtime's frame must be left out");
    assert_eq!(frames[1]["location"].get("physicalLocation"), None, "std is not in the repository");
    let file = &frames[2]["location"]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!((file, &frames[2]["properties"]["recovered"]), (&json!("src/flood.rs"), &json!(true)));
    assert_eq!(frames[3].get("properties"), None);
}

#[test]
fn a_document_without_findings_has_all_rules_and_no_results() {
    let log = log(Vec::new());
    assert_is_accepted(&log);
    assert_eq!(results(&log).len(), 0);
    let driver = &log["runs"][0]["tool"]["driver"];
    assert!(text(&driver["informationUri"]).starts_with("https://"), "{driver}");
    let ids: HashSet<_> = driver["rules"].as_array().unwrap().iter().map(|rule| text(&rule["id"])).collect();
    assert_eq!(ids.len(), Cause::ALL.len());
    for (index, notification) in driver["notifications"].as_array().unwrap().iter().enumerate() {
        assert_eq!(notification["id"], [rules::NO_LOCATION, rules::LOST_OBSERVATIONS][index]);
    }
}

#[test]
fn findings_of_every_kind_are_accepted() {
    let kinds = [Evidence::None, Evidence::Leaf, Evidence::Reconstructed, Evidence::Stack];
    let mut findings = Vec::new();
    for (cause, evidence) in Cause::ALL.iter().flat_map(|cause| kinds.map(|kind| (*cause, kind))) {
        let mut exact = sample::sleep();
        (exact.cause, exact.evidence) = (cause, evidence);
        if evidence == Evidence::None {
            exact.stack.clear();
        }
        let mut no_site = without_lines(exact.clone());
        (no_site.site, no_site.primitive, no_site.ongoing) = (None, None, Some(exact.max));
        findings.extend([exact.clone(), without_lines(exact.clone()), no_site, without_lines(exact)]);
    }
    let mut unlocated: Vec<_> = findings.iter().cloned().map(without_spawn_location).collect();
    unlocated.retain(|finding| finding.site.as_ref().is_none_or(|site| site.file.is_none()));
    let (located_count, unlocated_count) = (findings.len(), unlocated.len());
    findings.extend(unlocated);
    for (n, finding) in findings.iter_mut().enumerate() {
        finding.id = format!("{n:016x}");
    }
    let log = log(findings);
    assert_is_accepted(&log);
    assert_eq!(results(&log).len(), located_count);
    assert_eq!(notifications(&log).len(), unlocated_count);
    notifications(&log).iter().for_each(|notification| assert_is_message(&notification["message"]));
}

#[test]
fn without_lines_a_finding_is_shown_where_its_task_is_spawned() {
    let mut finding = without_lines(sample::sleep());
    finding.lines_missing = Some("`chat` has no debug information".to_owned());
    let result = one_result(finding.clone());
    let location = &result["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "src/server.rs");
    assert_eq!(location["region"], json!({ "startLine": 61, "startColumn": 9 }));
    assert_eq!(result["level"], "note", "the line is not the one to change");
    let message = text(&result["message"]["text"]);
    assert!(
        message.contains("its function, `chat::flood::throttle`: this line spawns the task."),
        "{message}"
    );
    assert!(message.contains("`chat` has no debug information."), "{message}");
    // The advice may say why, and is whole.
    finding.advice = format!("{0}; {0}: `debug = \"line-tables-only\"`", "move it ".repeat(30).trim());
    let message = one_result(finding.clone());
    let message = text(&message["message"]["text"]);
    assert!(message.ends_with("move it: `debug = \"line-tables-only\"`."), "{message}");
    assert!(!message.contains("no debug information"), "{message}");
    finding.advice.clear();
    // A path of the machine is left out.
    finding.lines_missing = Some("`/usr/lib/libc.so` cannot be read".to_owned());
    one_result(finding);
}

#[test]
fn generated_code_is_not_in_the_repository() {
    let mut finding = sample::sleep();
    let site = finding.site.as_mut().unwrap();
    site.file = Some("target/debug/build/app-0123456789abcdef/out/api.rs".to_owned());
    finding.stack[2].file = site.file.clone();
    let result = one_result(finding);
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 88);
    let message = text(&result["message"]["text"]);
    assert!(
        message.contains("The line that blocks is not in the repository: this line calls it."),
        "{message}"
    );
}

#[test]
fn only_an_exact_stack_names_a_caller() {
    let mut finding = sample::sleep();
    let site = finding.site.as_mut().unwrap();
    (site.file, site.line) = (None, None);
    (finding.stack[2].file, finding.stack[2].line) = (None, None);
    let result = one_result(finding.clone());
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 88);
    assert!(text(&result["message"]["text"]).contains("this line calls it."), "{result}");
    finding.evidence = Evidence::Reconstructed;
    let result = one_result(finding);
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 61);
}

#[test]
fn a_finding_without_a_place_is_a_notification() {
    let mut finding = without_spawn_location(without_lines(sample::sleep()));
    for spawned_at in [None, Some("axum-0.8.9/src/serve/mod.rs:1:2"), Some("/a.rs:1:2"), Some("a.rs:x:1")] {
        finding.task.spawned_at = spawned_at.map(str::to_owned);
        let mut document_with_loss = sample::document(vec![finding.clone()]);
        document_with_loss.dropped = 3;
        let log = log_of(&document_with_loss);
        assert_is_accepted(&log);
        assert_eq!(results(&log).len(), 0, "{spawned_at:?}");
        let [lost, unlocated] = &notifications(&log)[..] else { panic!("{log}") };
        assert_eq!(lost["descriptor"]["id"], rules::LOST_OBSERVATIONS);
        assert_eq!(unlocated["associatedRule"]["id"], "blocking/sleep");
        let message = text(&unlocated["message"]["text"]);
        assert!(message.contains("is not known, only its function, `chat::flood"), "{message}");
    }
}

#[test]
fn a_file_without_a_line_is_shown_at_its_first_line() {
    let mut finding = sample::sleep();
    for line in [None, Some(0), Some(u32::MAX)] {
        finding.site.as_mut().unwrap().line = line;
        let result = one_result(finding.clone());
        assert_eq!(result["locations"][0]["physicalLocation"]["region"], json!({ "startLine": 1 }));
        assert!(text(&result["message"]["text"]).contains("The line in this file is not known."), "{result}");
    }
}

#[test]
fn hostile_names_are_accepted() {
    for name in ["<script>", "\"\\", "\0\u{1b}[31m", "\u{202e}", "[a](http://b)", "{0}", "", " ", "ß.\n"] {
        let mut finding = sample::sleep();
        let site = finding.site.as_mut().unwrap();
        (site.function, site.file) = (format!("f{name}"), Some(format!("src/{name}#?.rs")));
        (finding.task.kind, finding.advice) = (name.to_owned(), name.to_owned());
        finding.primitive = Some(name.repeat(5_000));
        for frame in &mut finding.stack {
            frame.function = format!("f{name}");
        }
        assert_eq!(one_result(finding.clone())["level"], "warning", "{name:?}");
        let mut document_of_program = sample::document(vec![finding]);
        document_of_program.process.program = format!("/home/me/{name}");
        assert_is_accepted(&log_of(&document_of_program));
    }
}

#[test]
fn the_category_is_the_name_of_the_program() {
    for (program, id) in [
        ("/usr/bin/chat", "loopscope/chat/"),
        ("/usr/bin/chat (deleted)", "loopscope/chat/"),
        (r"C:\bin\chat server.exe", "loopscope/chat_server/"),
        ("", "loopscope/unknown/"),
    ] {
        let mut document = sample::document(Vec::new());
        document.process.program = program.to_owned();
        assert_eq!(automation_details(&document)["id"], id);
    }
}

#[test]
fn the_source_line_is_shown_if_it_can_be_read() {
    let mut finding = sample::sleep();
    let site = finding.site.as_mut().unwrap();
    (site.file, site.line, site.column) = (Some("src/finding.rs".to_owned()), Some(1), None);
    let result = one_result(finding);
    let region = &result["locations"][0]["physicalLocation"]["region"];
    assert!(text(&region["snippet"]["text"]).starts_with("//! Findings"), "{region}");
    let place =
        Place { file: "src/finding.rs".to_owned(), line: Some(1), column: Some(5), relation: Relation::Site };
    let location = serde_json::to_value(place::PhysicalLocation::with_source(&place)).unwrap();
    assert_eq!(
        (&location["region"]["startLine"], &location["region"]["startColumn"]),
        (&json!(1), &json!(5))
    );
    assert!(text(&location["region"]["snippet"]["text"]).starts_with("Findings"), "{location}");
    assert_eq!(location["contextRegion"]["startLine"], 1);
    assert!(text(&location["contextRegion"]["snippet"]["text"]).starts_with("//! Findings"), "{location}");
}

/// Debug information counts bytes, `std::panic::Location` counts characters,
/// and a document counts what its `columnKind` says.
#[test]
fn a_column_leads_to_the_same_character_of_the_line_that_is_shown() {
    let line = "\tlet größe = \"好\"; std::thread::sleep(x);";
    let path = std::env::temp_dir().join(format!("loopscope-columns-{}.rs", std::process::id()));
    std::fs::write(&path, format!("//\n{line}\r\n")).unwrap();
    let before_call = &line[..line.find("std").unwrap()];
    let (bytes, characters) = (before_call.len() as u32 + 1, before_call.chars().count() as u32 + 1);
    assert_ne!(bytes, characters);
    for (relation, column) in [(Relation::Site, bytes), (Relation::Spawn, characters)] {
        let file = path.to_str().unwrap().to_owned();
        let place = Place { file, line: Some(2), column: Some(column), relation };
        let location = serde_json::to_value(place::PhysicalLocation::with_source(&place)).unwrap();
        let snippet = json!({ "text": "std::thread::sleep(x);" });
        let region = json!({ "startLine": 2, "startColumn": characters, "snippet": snippet });
        assert_eq!(location["region"], region, "{relation:?}");
        assert_eq!(location["contextRegion"]["snippet"]["text"], line, "{relation:?}");
    }
    // The file has changed since it was compiled.
    let file = path.to_str().unwrap().to_owned();
    let changed = Place { file, line: Some(2), column: Some(1), relation: Relation::Site };
    let location = serde_json::to_value(place::PhysicalLocation::with_source(&changed)).unwrap();
    assert_eq!(location["region"], json!({ "startLine": 2 }));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(log(Vec::new())["runs"][0]["columnKind"], "unicodeCodePoints");
    // Without the file, bytes cannot be converted.
    let place = Place {
        file: "src/no-such-file.rs".to_owned(),
        line: Some(2),
        column: Some(bytes),
        relation: Relation::Site,
    };
    let location = serde_json::to_value(place::PhysicalLocation::with_source(&place)).unwrap();
    assert_eq!(location["region"], json!({ "startLine": 2 }));
}

#[test]
fn only_files_of_the_repository_are_named() {
    for (path, expected) in [
        ("src/main.rs", Some("src/main.rs")),
        ("./src/main.rs", Some("src/main.rs")),
        (r"src\main.rs", Some("src/main.rs")),
        ("src/a/../b//c.rs", Some("src/b/c.rs")),
        ("src/build/out.rs", Some("src/build/out.rs")),
        ("../common/src/lib.rs", None),
        ("/home/me/src/main.rs", None),
        ("~/src/main.rs", None),
        (r"C:\src\main.rs", None),
        ("<unknown>", None),
        ("target/debug/build/app-0123456789abcdef/out/api.rs", None),
        ("", None),
        (".", None),
    ] {
        assert_eq!(place::in_repository(path).as_deref(), expected, "{path}");
    }
    assert_eq!(place::uri("a b/ü:#%.rs"), "a%20b/%C3%BC%3A%23%25.rs");
}

#[test]
fn a_document_of_500_findings_is_small() {
    let findings: Vec<_> = (0..500).map(finding_with_deep_stack).collect();
    let json = text_of(&sample::document(findings));
    assert!(json.len() < 2_500_000, "{} bytes", json.len());
}

/// Returns a finding whose stack has 60 frames.
fn finding_with_deep_stack(n: u32) -> Finding {
    let mut finding = sample::sleep();
    finding.id = format!("{n:016x}");
    finding.site.as_mut().unwrap().line = Some(n + 1);
    let frame = |index: u32| Frame {
        function: format!("application::services::handlers::handler_{n}_{index}::{{async fn}}"),
        file: Some(format!("crates/application/src/services/handlers/handler_{index}.rs")),
        line: Some(index + 1),
        column: None,
        kind: FrameKind::Application,
        recovered: false,
    };
    finding.stack.extend((0..60).map(frame));
    finding
}
