//! Diagnostics, compared character by character.

use std::time::Duration;

use super::*;
use crate::finding::{Cause, TaskInfo, Victims};
use crate::report::sample;

const SOURCE: &str = "    std::thread::sleep(pause);";

fn with_source(finding: &Finding) -> String {
    with_line(finding, SOURCE, DEFAULT_COLUMNS)
}

/// Draws a finding at line 31 of which the source is `line`.
fn with_line(finding: &Finding, line: &str, columns: usize) -> String {
    let read_line = |file: &str, number| (file == "src/flood.rs" && number == 31).then(|| line.to_owned());
    render(finding, false, columns, &read_line)
}

fn without_source(finding: &Finding) -> String {
    render(finding, false, DEFAULT_COLUMNS, &|_, _| None)
}

/// Returns a text without its line breaks.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns a finding with as few known fields as possible.
fn minimal() -> Finding {
    Finding {
        primitive: None,
        site: None,
        cause: Cause::Other,
        count: 1,
        total: Duration::from_millis(20),
        detail: crate::finding::Detail::default(),
        victims: Victims::default(),
        advice: String::new(),
        evidence: Evidence::None,
        stack: vec![],
        task: TaskInfo { kind: "session".to_owned(), spawned_at: None },
        ..sample::sleep()
    }
}

#[test]
fn a_finding_with_its_source() {
    let expected = "\
warning[loopscope::sleep]: `std::thread::sleep` blocked the event loop 12 times, 2.41 s in all, 212 ms at most
  --> src/flood.rs:31:5
   |
31 |     std::thread::sleep(pause);
   |     ^^^^^^^^^^^^^^^^^^ blocks here, in clock_nanosleep
   |
   = function: `chat::flood::throttle`
   = task: session (spawned at src/server.rs:61:9)
   = waited: 37 tasks waited 52 times, 4.1 s in all
   = called from: `chat::session::privmsg` at src/session.rs:88:13
   = help: use `tokio::time::sleep(..).await`
";
    assert_eq!(with_source(&sample::sleep()), expected);
}

#[test]
fn released_tasks_are_not_counted_as_waiting() {
    let mut finding = sample::sleep();
    finding.victims.driver_held = true;
    (finding.victims.tasks, finding.victims.waits, finding.victims.released) = (40, 52, 12);
    let text = with_source(&finding);
    assert!(text.contains("= waited: 40 waits, 4.1 s in all\n"), "{text}");
    assert!(text.contains("whole runtime; 12 tasks were woken right after\n"), "{text}");
    finding.victims.released = 52;
    assert!(!with_source(&finding).contains("waited:"));
}

#[test]
fn the_machines_time_is_shown_apart_if_it_is_considerable() {
    let mut finding = sample::sleep();
    finding.split.run_queue = Duration::from_millis(200);
    assert_eq!(with_source(&finding), with_source(&sample::sleep()));
    finding.split.paused = Duration::from_millis(250);
    finding.split.unknown = Duration::from_millis(40);
    let expected = "   = not counted: 200 ms without a free CPU, 250 ms with the process stopped, \
                    40 ms of which nothing is known\n";
    assert!(with_source(&finding).contains(expected), "{}", with_source(&finding));
}

#[test]
fn a_finding_with_its_source_in_colour() {
    let blue = |text: &str| format!("\x1b[1m\x1b[94m{text}\x1b[0m");
    let bold = |text: &str| format!("\x1b[1m{text}\x1b[0m");
    let yellow = |text: &str| format!("\x1b[1m\x1b[33m{text}\x1b[0m");
    let title = ": `std::thread::sleep` blocked the event loop 12 times, 2.41 s in all, 212 ms at most";
    let note = |name: &str, text: &str| format!("   {}{}: {text}", blue("= "), bold(name));
    let expected = [
        yellow("warning[loopscope::sleep]") + &bold(title),
        format!("  {}src/flood.rs:31:5", blue("--> ")),
        format!("   {}", blue("|")),
        format!("{} {} {SOURCE}", blue("31"), blue("|")),
        format!(
            "   {}     {} {}",
            blue("|"),
            yellow(&"^".repeat(18)),
            yellow("blocks here, in clock_nanosleep")
        ),
        format!("   {}", blue("|")),
        note("function", "`chat::flood::throttle`"),
        note("task", "session (spawned at src/server.rs:61:9)"),
        note("waited", "37 tasks waited 52 times, 4.1 s in all"),
        note("called from", "`chat::session::privmsg` at src/session.rs:88:13"),
        note("help", "use `tokio::time::sleep(..).await`"),
    ];
    let text = render(&sample::sleep(), true, DEFAULT_COLUMNS, &|_, _| Some(SOURCE.to_owned()));
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_stall_in_progress_without_its_source() {
    let mut finding = sample::sleep();
    finding.ongoing = Some(Duration::from_millis(1_200));
    finding.evidence = Evidence::Reconstructed;
    let expected = "\
warning[loopscope::sleep]: `std::thread::sleep` has been blocking the event loop for 1.2 s
--> src/flood.rs:31:5
 = function: `chat::flood::throttle`
 = task: session (spawned at src/server.rs:61:9)
 = so far: 12 times, 2.41 s in all, 212 ms at most
 = waited: 37 tasks waited 52 times, 4.1 s in all
 = called from: `chat::session::privmsg` at src/session.rs:88:13
 = evidence: the stack is reconstructed: the innermost frames are certain, the outer ones may be stale
 = help: use `tokio::time::sleep(..).await`
";
    assert_eq!(without_source(&finding), expected);
}

#[test]
fn a_site_and_a_caller_that_were_not_on_the_stack_are_marked() {
    let mut finding = sample::sleep();
    finding.site.as_mut().unwrap().recovered = true;
    finding.stack[3].recovered = true;
    let text = without_source(&finding);
    let lines = "\
 = called from: `chat::session::privmsg` at src/session.rs:88:13 (recovered)
 = recovered: this call left no frame, because it was compiled to a jump; only this jump, or that of an equal function
              merged with this one, leads to the call that blocks
";
    assert!(text.contains(lines), "{text}");
    finding.site.as_mut().unwrap().line = None;
    let text = unwrapped(&without_source(&finding));
    assert!(text.contains("more than one of its jumps leads"), "{text}");
}

#[test]
fn a_finding_of_which_only_the_duration_is_known() {
    let expected = "\
warning[loopscope::other]: an unidentified call blocked the event loop once, for 20 ms
 |
 = task: session
 = evidence: no stack was captured; cause and durations are measured
";
    assert_eq!(without_source(&minimal()), expected);
}

#[test]
fn without_a_site_the_innermost_function_is_named() {
    let mut finding = minimal();
    finding.evidence = Evidence::Leaf;
    finding.stack = sample::sleep().stack;
    finding.stack.truncate(2);
    let expected = "\
warning[loopscope::other]: an unidentified call blocked the event loop once, for 20 ms
 |
 = function: `clock_nanosleep`, called from an unknown line of the application
 = task: session
 = evidence: only the innermost frames are known, not their callers
";
    assert_eq!(without_source(&finding), expected);
}

#[test]
fn without_a_site_the_called_function_is_named_with_its_line() {
    let mut finding = minimal();
    finding.primitive = Some("axum::Json::from_bytes".to_owned());
    finding.stack = sample::sleep().stack;
    let called = &mut finding.stack[1];
    (called.kind, called.function) = (FrameKind::Dependency, "axum::json::Json::from_bytes".to_owned());
    (called.file, called.line) = (Some("axum-0.8.9/src/json.rs".to_owned()), Some(194));
    let text = without_source(&finding);
    assert!(
        text.contains("= function: `axum::json::Json::from_bytes` at axum-0.8.9/src/json.rs:194:9, called"),
        "{text}"
    );
}

#[test]
fn a_caller_without_a_name_is_shown_by_its_line() {
    let mut finding = sample::sleep();
    finding.stack[3].function = "chat::session::{async fn}".to_owned();
    let text = with_source(&finding);
    assert!(text.contains("= called from: src/session.rs:88:13 in `chat::session`\n"), "{text}");
}

#[test]
fn a_site_without_a_file_is_named_by_its_function() {
    let mut finding = minimal();
    let function = "chat::f".to_owned();
    finding.site = Some(Site { function, file: None, line: None, column: None, recovered: false });
    assert!(with_source(&finding).contains("\n = function: `chat::f`, in an unknown file\n"));
}

#[test]
fn a_line_that_is_not_in_the_file_is_named_without_its_source() {
    for line in [None, Some(0), Some(30), Some(u32::MAX)] {
        let mut finding = sample::sleep();
        finding.site.as_mut().unwrap().line = line;
        let shown = line.filter(|line| *line > 0).map(|line| format!(":{line}:5")).unwrap_or_default();
        let text = with_source(&finding);
        assert!(text.contains(&format!("\n--> src/flood.rs{shown}\n")), "{text}");
    }
}

#[test]
fn code_around_the_event_loop_is_no_caller() {
    let mut finding = sample::sleep();
    let before = with_source(&finding);
    let caller = finding.stack.iter().rfind(|frame| frame.kind == FrameKind::Application).unwrap().clone();
    let function = "tokio::runtime::runtime::Runtime::block_on".to_owned();
    finding.stack.push(Frame { function, kind: FrameKind::Runtime, ..caller.clone() });
    finding.stack.push(Frame { line: Some(1), ..caller });
    assert_eq!(with_source(&finding), before);
}

/// Names come from debug information, tasks and descriptors: untrusted text.
#[test]
fn no_text_reaches_the_terminal_as_a_control_sequence() {
    let evil = "a\x1b[31m\r\nb\u{202e}\0\u{9b}c".to_owned();
    let mut finding = sample::sleep();
    finding.primitive = Some(evil.clone());
    finding.site = Some(Site {
        function: evil.clone(),
        file: Some(evil.clone()),
        line: Some(1),
        column: None,
        recovered: false,
    });
    finding.task = TaskInfo { kind: evil.clone(), spawned_at: Some(evil.clone()) };
    finding.detail.syscall = Some(evil.clone());
    finding.detail.fd = Some(evil.clone());
    finding.advice = evil.clone();
    for frame in &mut finding.stack {
        frame.function = evil.clone();
        frame.file = Some(evil.clone());
    }
    let is_harmless = |text: &str| text.chars().all(|c| c == '\n' || text::is_printable(c));
    assert!(is_harmless(&with_source(&finding)), "{:?}", with_source(&finding));
    assert_eq!(with_source(&finding).lines().count(), 8, "{}", with_source(&finding));
    let text = render(&finding, false, DEFAULT_COLUMNS, &|_, _| Some("\u{7}\u{597d} x".to_owned()));
    assert!(is_harmless(&text), "{text:?}");
    assert!(text.contains("\n1 | \u{fffd}\u{597d} x\n  | ^^^^^ blocks here, in a\\u{1b}[31m"), "{text}");
}

/// The public function reads the real source file.
#[test]
fn the_source_is_read_from_below_the_current_directory() {
    let mut finding = sample::sleep();
    finding.site =
        Some(Site { file: Some("src/finding.rs".to_owned()), line: Some(1), ..finding.site.unwrap() });
    assert!(diagnostic(&finding, false).contains("\n1 | //! Findings and stalls"));
}

#[test]
fn a_finding_says_how_many_stalls_may_be_at_another_line() {
    let mut finding = sample::sleep();
    assert!(!diagnostic(&finding, false).contains("evidence:"));
    finding.without_stack = 5;
    finding.sampled_once = 2;
    let text = unwrapped(&diagnostic(&finding, false));
    assert!(text.contains("evidence: 5 of 12 stalls had no stack"), "{text}");
    assert!(text.contains("2 of 12 stalls had one early sample"), "{text}");
}

/// What gives lines comes last, after a long advice for a computation.
#[test]
fn a_long_advice_is_whole() {
    let mut finding = minimal();
    finding.advice = format!("{0}; {0}; build with `strip = \"none\"`", "move it ".repeat(25).trim());
    assert!(finding.advice.len() > 400);
    let text = unwrapped(&without_source(&finding));
    assert!(text.contains(&format!("help: {}", finding.advice)), "{text}");
    finding.advice = "x".repeat(10_000);
    assert!(without_source(&finding).len() < 1_000, "a name in it may be long");
}

#[test]
fn a_stall_that_held_the_driver_says_what_stood_still_and_what_helps() {
    let mut finding = sample::sleep();
    assert!(!diagnostic(&finding, false).contains("driver"));
    finding.victims.driver_held = true;
    finding.victims.released = 2;
    let text = diagnostic(&finding, false);
    let note =
        "driver: meanwhile nothing served the sockets and timers of the whole runtime; 2 tasks were woken";
    assert!(text.contains(note), "{text}");
    assert!(!text.contains("handoff"), "no other worker can run the driver: {text}");
    finding.victims.has_other_workers = true;
    let text = diagnostic(&finding, false);
    assert!(text.contains("enable_eager_driver_handoff"), "{text}");
}

#[test]
fn a_comment_behind_the_call_is_not_marked() {
    let text = with_line(&sample::sleep(), "    std::thread::sleep(wait); // THE MISTAKE", DEFAULT_COLUMNS);
    assert!(text.contains("\n   |     ^^^^^^^^^^^^^^^^^^ blocks here, in clock_nanosleep\n"), "{text}");
    let mut finding = sample::sleep();
    finding.site.as_mut().unwrap().column = None;
    let text = with_line(&finding, "    wait.end().sleep(); // sleep(1)", DEFAULT_COLUMNS);
    assert!(text.contains(" src/flood.rs:31:16\n"), "{text}");
    assert!(text.contains("\n   |                ^^^^^ blocks here, in clock_nanosleep\n"), "{text}");
}

#[test]
fn the_column_is_that_of_the_file_though_tabs_are_drawn_wide() {
    let line = "\t\tlet x = \"\u{1b}好\"; std::thread::sleep(x);\r\n";
    let mut finding = sample::sleep();
    finding.site.as_mut().unwrap().column = Some(line.find("std").unwrap() as u32 + 1);
    let text = with_line(&finding, line, DEFAULT_COLUMNS);
    assert!(text.contains("--> src/flood.rs:31:17\n"), "{text}");
    assert!(text.contains("\n31 |         let x = \"\u{fffd}好\"; std::thread::sleep(x);\n"), "{text}");
    assert!(text.contains("\n   |                        ^^^^^^^^^^^^^^^^^^ blocks here"), "{text}");
}

/// The file has changed since the program was compiled.
#[test]
fn a_line_without_code_at_the_column_is_not_shown() {
    for line in ["", "  ", "}", "    ", "\u{597d}\u{597d}"] {
        let text = with_line(&sample::sleep(), line, DEFAULT_COLUMNS);
        assert!(text.contains("\n--> src/flood.rs:31:5\n = function"), "{line:?}: {text}");
    }
    let text = with_line(&sample::sleep(), &" x".repeat(10_000), DEFAULT_COLUMNS);
    assert!(text.contains("\n--> src/flood.rs:31:5\n = function"), "{text}");
}

/// A finding with every note, and with long names.
fn rich() -> Finding {
    let mut finding = sample::sleep();
    finding.ongoing = Some(Duration::from_millis(1_200));
    finding.detail.fd = Some("tcp to 127.0.0.1:3001".to_owned());
    finding.detail.holder =
        Some("worker 0 (task session), in `std::thread::sleep` at src/db.rs:382".to_owned());
    finding.split.unknown = Duration::from_millis(900);
    finding.split.run_queue = Duration::from_millis(1_234);
    (finding.victims.driver_held, finding.victims.has_other_workers) = (true, true);
    (finding.without_stack, finding.sampled_once) = (5, 2);
    finding.evidence = Evidence::Reconstructed;
    finding.task.kind = "好好 好好".to_owned();
    let site = finding.site.as_mut().unwrap();
    site.recovered = true;
    site.function =
        "<chat::flood::Throttle<chat::limit::Bucket> as chat::middleware::Layer<chat::Service>>::throttle_all"
            .to_owned();
    finding.stack[2].function = site.function.clone();
    finding
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let lines = [
        SOURCE.to_owned(),
        format!("{}std::thread::sleep(pause);", " ".repeat(90)),
        format!("let 好好 = {}; std::thread::sleep(pause); // {}", "好".repeat(60), "x".repeat(200)),
        format!("std::thread::sleep({});", "x, ".repeat(100)),
        format!("let x = {}; std::thread::sleep(pause)", "f(1) + ".repeat(150)),
    ];
    for columns in [60, 80, 100, 120, 200] {
        for line in &lines {
            for mut finding in [sample::sleep(), rich()] {
                finding.site.as_mut().unwrap().column = Some(line.find("std").unwrap() as u32 + 1);
                let text = with_line(&finding, line, columns);
                // A single word may be wider: a path stays whole.
                let is_wide = |line: &&str| width(line) > columns && line.trim_start().contains(' ');
                assert_eq!(text.lines().find(is_wide), None, "{columns} columns:\n{text}");
                assert_eq!(above_mark(&text), "std::thread::sleep", "{columns} columns:\n{text}");
            }
        }
    }
}

/// Returns the part of the drawn line that is above the mark.
fn above_mark(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let at = lines.iter().position(|line| line.contains('^')).unwrap();
    let (begin, end) = (lines[at].find('^').unwrap(), lines[at].rfind('^').unwrap());
    let mut column = 0;
    let is_above = |c: &char| {
        let is_above = (begin..=end).contains(&column);
        column += width(c.encode_utf8(&mut [0; 4]));
        is_above
    };
    lines[at - 1].chars().filter(is_above).collect()
}

#[test]
fn what_has_no_room_beside_the_mark_is_a_note() {
    let mut finding = sample::sleep();
    finding.detail.fd = Some("tcp to 127.0.0.1:3001".to_owned());
    let expected = "\
   |     ^^^^^^^^^^^^^^^^^^ blocks here
   |
   = call: in clock_nanosleep on tcp to 127.0.0.1:3001
";
    let text = with_line(&finding, SOURCE, 60);
    assert!(text.contains(expected), "{text}");
    let text = with_line(&finding, SOURCE, 100);
    assert!(text.contains(" blocks here, in clock_nanosleep on tcp to 127.0.0.1:3001\n"), "{text}");
    assert!(!text.contains("= call:"), "{text}");
}

#[test]
fn a_long_label_does_not_cut_the_line() {
    let mut finding = sample::sleep();
    finding.detail.fd = Some("/var/lib/chat/journal.log".to_owned());
    let line = format!("let flushed = {}; std::thread::sleep(pause);", "flush(journal), ".repeat(3));
    finding.site.as_mut().unwrap().column = Some(line.find("std").unwrap() as u32 + 1);
    let text = with_line(&finding, &line, DEFAULT_COLUMNS);
    assert!(text.contains(&format!("\n31 | {line}\n")), "{text}");
    assert!(text.contains("^ blocks here\n"), "{text}");
    assert!(text.contains("\n   = call: in clock_nanosleep on /var/lib/chat/journal.log\n"), "{text}");
}

#[test]
fn a_narrow_terminal_gets_wrapped_text() {
    let expected = "\
warning[loopscope::sleep]: `std::thread::sleep` blocked the
                           event loop 12 times, 2.41 s in
                           all, 212 ms at most
  --> src/flood.rs:31:5
   |
31 |     std::thread::sleep(pause);
   |     ^^^^^^^^^^^^^^^^^^ blocks here, in clock_nanosleep
   |
   = function: `chat::flood::throttle`
   = task: session (spawned at src/server.rs:61:9)
   = waited: 37 tasks waited 52 times, 4.1 s in all
   = called from: `chat::session::privmsg` at
                  src/session.rs:88:13
   = help: use `tokio::time::sleep(..).await`
";
    assert_eq!(with_line(&sample::sleep(), SOURCE, 60), expected);
}
