//! Drawings, character by character.

use super::*;
use std::time::Duration;

use crate::finding::{TaskInfo, Victims};
use crate::report::sample;

const SOURCE: &str = "    std::thread::sleep(pause);";

fn with_source(finding: &Finding) -> String {
    draw(finding, false, &|file, line| (file == "src/flood.rs" && line == 31).then(|| SOURCE.to_owned()))
}

fn without_source(finding: &Finding) -> String {
    draw(finding, false, &|_, _| None)
}

/// A finding of which nothing is known but that it happened.
fn bare() -> Finding {
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
   |     ^^^^^^^^^^^^^^^^^^^^^^^^^^ blocks here, in clock_nanosleep
   |
   = task: session (spawned at src/server.rs:61:9)
   = waited: 37 tasks waited 52 times, 4.1 s in all
   = called from: `chat::session::privmsg` at src/session.rs:88
   = help: use `tokio::time::sleep(..).await`
";
    assert_eq!(with_source(&sample::sleep()), expected);
}

#[test]
fn the_same_in_colour() {
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
            yellow(&"^".repeat(26)),
            yellow("blocks here, in clock_nanosleep")
        ),
        format!("   {}", blue("|")),
        note("task", "session (spawned at src/server.rs:61:9)"),
        note("waited", "37 tasks waited 52 times, 4.1 s in all"),
        note("called from", "`chat::session::privmsg` at src/session.rs:88"),
        note("help", "use `tokio::time::sleep(..).await`"),
    ];
    let drawn = draw(&sample::sleep(), true, &|_, _| Some(SOURCE.to_owned()));
    assert_eq!(drawn.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_stall_in_progress_without_its_source() {
    let mut finding = sample::sleep();
    finding.ongoing = Some(Duration::from_millis(1_200));
    finding.evidence = Evidence::Reconstructed;
    let expected = "\
warning[loopscope::sleep]: `std::thread::sleep` has been blocking the event loop for 1.2 s \
(so far 12 times, 2.41 s in all, 212 ms at most)
--> src/flood.rs:31
 = task: session (spawned at src/server.rs:61:9)
 = waited: 37 tasks waited 52 times, 4.1 s in all
 = called from: `chat::session::privmsg` at src/session.rs:88
 = evidence: the stack is reconstructed: the innermost frames are certain, those further out may be stale
 = help: use `tokio::time::sleep(..).await`
";
    assert_eq!(without_source(&finding), expected);
}

#[test]
fn nothing_known_but_that_it_happened() {
    let expected = "\
warning[loopscope::other]: a call that could not be named blocked the event loop once, for 20 ms
 |
 = task: session
 = evidence: no stack could be had; cause and durations are measured
";
    assert_eq!(without_source(&bare()), expected);
}

#[test]
fn without_a_site_the_innermost_function_is_named() {
    let mut finding = bare();
    finding.evidence = Evidence::Leaf;
    finding.stack = sample::sleep().stack;
    finding.stack.truncate(2);
    let expected = "\
warning[loopscope::other]: a call that could not be named blocked the event loop once, for 20 ms
 |
 = task: session
 = in: `clock_nanosleep`; which line of the application called it is not known
 = evidence: only the innermost frames are known, not what called them
";
    assert_eq!(without_source(&finding), expected);
}

#[test]
fn a_site_without_a_file_is_named_by_its_function() {
    let mut finding = bare();
    finding.site = Some(Site { function: "chat::f".to_owned(), file: None, line: None });
    assert!(with_source(&finding).contains("\n = in: `chat::f`, whose file is not known\n"));
}

#[test]
fn a_line_that_is_not_in_the_file_is_only_named() {
    for line in [None, Some(0), Some(30), Some(u32::MAX)] {
        let mut finding = sample::sleep();
        finding.site.as_mut().unwrap().line = line;
        let shown = line.filter(|line| *line > 0).map(|line| format!(":{line}")).unwrap_or_default();
        let drawn = with_source(&finding);
        assert!(drawn.contains(&format!("\n--> src/flood.rs{shown}\n")), "{drawn}");
    }
}

#[test]
fn no_more_than_three_callers_are_named() {
    let mut finding = sample::sleep();
    let caller = finding.stack[3].clone();
    finding.stack.extend((100..110).map(|line| Frame { line: Some(line), ..caller.clone() }));
    assert_eq!(with_source(&finding).matches("= called from: ").count(), MAX_CALLERS);
}

#[test]
fn a_caller_that_is_two_frames_is_named_once() {
    let mut finding = sample::sleep();
    let before = with_source(&finding).matches("= called from: ").count();
    let last = finding.stack.iter().rposition(|frame| frame.kind == FrameKind::Application).unwrap();
    let twin = finding.stack[last].clone();
    finding.stack.insert(last, twin);
    assert_eq!(with_source(&finding).matches("= called from: ").count(), before);
}

/// Names come from debug information, tasks and descriptors: anybody's text.
#[test]
fn no_text_reaches_the_terminal_as_a_control_sequence() {
    let evil = "a\x1b[31m\r\nb\u{202e}\0\u{9b}c".to_owned();
    let mut finding = sample::sleep();
    finding.primitive = Some(evil.clone());
    finding.site = Some(Site { function: evil.clone(), file: Some(evil.clone()), line: Some(1) });
    finding.task = TaskInfo { kind: evil.clone(), spawned_at: Some(evil.clone()) };
    finding.detail.syscall = Some(evil.clone());
    finding.detail.fd = Some(evil.clone());
    finding.advice = evil.clone();
    for frame in &mut finding.stack {
        frame.function = evil.clone();
        frame.file = Some(evil.clone());
    }
    let harmless = |drawn: &str| drawn.chars().all(|c| c == '\n' || text::is_printable(c));
    assert!(harmless(&with_source(&finding)), "{:?}", with_source(&finding));
    assert_eq!(with_source(&finding).lines().count(), 7, "{}", with_source(&finding));
    let drawn = draw(&finding, false, &|_, _| Some("\u{fffd}\u{597d} x".to_owned()));
    assert!(harmless(&drawn), "{drawn:?}");
    assert!(drawn.contains("\n1 | \u{fffd}\u{597d} x\n  | ^^^^^ blocks here, in a\\u{1b}[31m"), "{drawn}");
}

/// What is drawn through the public function has the real source line.
#[test]
fn the_source_is_read_from_below_the_current_directory() {
    let mut finding = sample::sleep();
    finding.site =
        Some(Site { function: "f".to_owned(), file: Some("src/finding.rs".to_owned()), line: Some(1) });
    assert!(diagnostic(&finding, false).contains("\n1 | //! What was found"));
}
