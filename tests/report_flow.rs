//! Which reports come when, and where: on stderr, as events, and not into a
//! terminal that a program draws on.
#![cfg(all(target_os = "linux", target_arch = "x86_64", tokio_unstable))]

#[macro_use]
mod common;

use std::env;
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::process::Command;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{SCENARIO_TIMEOUT, eventually, flush, in_child, run_scenario, run_scenario_of, runtime};
use loopscope::{Finding, Scope};
use tokio::runtime::{Builder, Runtime};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// Far above the threshold of 10 ms.
const SHORT_STALL: Duration = Duration::from_millis(60);

fn start() -> Scope {
    Scope::builder().start().unwrap()
}

/// Stalls until `is_found` holds for the findings: on a busy machine, a stall
/// may not be counted.
fn stall_until(scope: &Scope, runtime: &Runtime, stall: fn(), is_found: impl Fn(&[Finding]) -> bool) {
    eventually("the stalls", || {
        scope.block_on(runtime, async { stall() });
        flush(scope);
        is_found(&scope.findings().findings).then_some(())
    });
}

#[inline(never)]
fn first_line() {
    thread::sleep(SHORT_STALL);
}

#[inline(never)]
fn second_line() {
    thread::sleep(SHORT_STALL);
}

/// Keeps the messages of loopscope's events.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<(Level, String)>>>);

impl Messages {
    /// Makes this the subscriber of the process.
    fn subscribe(max_level: LevelFilter) -> Self {
        let messages = Self::default();
        let subscriber = tracing_subscriber::registry().with(messages.clone().with_filter(max_level));
        tracing::subscriber::set_global_default(subscriber).unwrap();
        messages
    }

    fn with(&self, text: &str) -> Vec<(Level, String)> {
        let messages = self.0.lock().unwrap();
        messages.iter().filter(|(_, message)| message.contains(text)).cloned().collect()
    }

    fn wait_for(&self, text: &str) -> String {
        eventually(text, || self.with(text).pop()).1
    }
}

impl<S: tracing::Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        if event.metadata().target().starts_with("loopscope") {
            let mut message = Message(String::new());
            event.record(&mut message);
            self.0.lock().unwrap().push((*event.metadata().level(), message.0));
        }
    }
}

fn run_with_terminal(scenario: &str, terminal: &str) -> String {
    let mut program = Command::new(env::current_exe().unwrap());
    program.env("LOOPSCOPE_TERMINAL", terminal);
    run_scenario_of(program, scenario, SCENARIO_TIMEOUT)
}

scenarios! {
    what_is_withheld_is_said_in_time runs withheld_reports;
    a_runtime_that_no_scope_watches_is_warned_of runs unwatched_runtime;
    a_scope_that_watches_nothing_warns runs nothing_watched;
    nothing_is_drawn_into_a_terminal_in_raw_mode runs raw_mode;
    text_is_dropped_if_the_scope_ends_in_raw_mode runs raw_mode_to_the_end;
}

/// Sixteen stalls at one line, then one at each of five others.
#[test]
fn a_first_report_does_not_wait_for_repeats_of_another_finding() {
    let text = run_scenario("one_line_often_then_others");
    let findings = text.lines().find_map(|line| line.strip_prefix("findings: ")).unwrap();
    assert_eq!(text.matches("warning[loopscope::").count(), findings.parse::<usize>().unwrap(), "{text}");
    assert!(text.contains("loopscope: again: 2 times, "), "{text}");
    assert!(!text.contains('\x1b'), "no colours in a file: {text}");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn one_line_often_then_others() {
    let scope = start();
    let runtime = runtime(&scope, 1);
    stall_until(&scope, &runtime, first_line, |findings| findings.iter().any(|finding| finding.count >= 16));
    let others: [fn(); 5] = [
        || thread::sleep(SHORT_STALL),
        || thread::sleep(SHORT_STALL),
        || thread::sleep(SHORT_STALL),
        || thread::sleep(SHORT_STALL),
        || thread::sleep(SHORT_STALL),
    ];
    for other in others {
        let before = scope.findings().findings.len();
        stall_until(&scope, &runtime, other, |findings| findings.len() > before);
    }
    println!("\nfindings: {}", scope.findings().findings.len());
}

#[test]
fn reports_are_on_stderr_where_no_subscriber_takes_them() {
    const REPORT: &str = "warning[loopscope::";
    const SUMMARY: &str =
        "loopscope: summary: 1 place in the code blocked the event loop for 10 ms or longer, ";
    for (scenario, terminal, expected) in [
        ("no_subscriber", "", 1),
        ("no_subscriber", "always", 1),
        ("no_subscriber", "never", 0),
        ("subscriber_of_errors", "auto", 1),
        ("subscriber_of_warnings", "auto", 0),
        ("subscriber_of_warnings", "always", 1),
        #[cfg(feature = "console")]
        ("console_alone", "auto", 1),
    ] {
        let text = run_with_terminal(scenario, terminal);
        assert_eq!(text.matches(REPORT).count(), expected, "{scenario} {terminal}: {text}");
        assert_eq!(text.matches(SUMMARY).count(), expected, "{scenario} {terminal}: {text}");
    }
}

fn one_stall() {
    let scope = start();
    let runtime = runtime(&scope, 1);
    stall_until(&scope, &runtime, first_line, |findings| !findings.is_empty());
    // The child has no thread of loopscope and says nothing at its end.
    in_child(|| drop(scope));
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn no_subscriber() {
    one_stall();
}

/// tokio-console's layer gets all of Tokio's events, and shows no finding.
#[test]
#[cfg(feature = "console")]
#[ignore = "a scenario that another test runs in a child process"]
fn console_alone() {
    let layer = loopscope::console::layer("127.0.0.1:0".parse().unwrap());
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    one_stall();
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn subscriber_of_errors() {
    Messages::subscribe(LevelFilter::ERROR);
    one_stall();
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn subscriber_of_warnings() {
    let messages = Messages::subscribe(LevelFilter::WARN);
    one_stall();
    let messages = messages.0.lock().unwrap();
    let [report, summary] = &messages[..] else { panic!("{messages:#?}") };
    assert!(report.1.contains(" blocked the event loop once, "), "{report:?}");
    assert!(summary.1.starts_with("summary: 1 place in the code "), "{summary:?}");
}

#[test]
fn a_scope_without_findings_says_nothing_at_its_end() {
    let text = run_scenario("no_stall");
    assert!(!text.contains("loopscope:"), "{text}");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn no_stall() {
    let messages = Messages::subscribe(LevelFilter::INFO);
    let scope = Scope::builder().blocking_threshold(Duration::from_secs(1)).start().unwrap();
    let runtime = runtime(&scope, 1);
    scope.block_on(&runtime, async {});
    flush(&scope);
    drop(scope);
    let messages = messages.0.lock().unwrap();
    let [(Level::INFO, start)] = &messages[..] else { panic!("{messages:#?}") };
    assert!(
        start.contains("every task of the runtimes") && start.contains("polls of 1 s or longer"),
        "{start}"
    );
}

/// The start is said when a subscriber takes it, and a watched runtime with a
/// blocking pool is not warned of.
#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn withheld_reports() {
    let scope = start();
    let messages = Messages::subscribe(LevelFilter::INFO);
    let runtime = runtime(&scope, 2);
    runtime.block_on(async {
        for call in [(); 4].map(|()| tokio::task::spawn_blocking(|| ())) {
            call.await.unwrap();
        }
    });
    // Reports are due at 1, 2, 4, 8, … stalls of each line. Five repeats are not
    // withheld.
    while messages.with("withheld").is_empty() {
        for line in [first_line, second_line] {
            scope.block_on(&runtime, async { line() });
        }
    }
    let notice = messages.wait_for("withheld");
    assert!(notice.contains(" withheld to limit their number, of "), "{notice}");
    assert!(notice.ends_with("; `Scope::findings` has all findings"), "{notice}");
    messages.wait_for("watches every task");
    drop(scope);
    let warnings = messages.with("watche");
    assert_eq!(warnings.len(), 1, "only the start: {warnings:#?}");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn unwatched_runtime() {
    let messages = Messages::subscribe(LevelFilter::WARN);
    let scope = start();
    let watched = runtime(&scope, 1);
    let unwatched = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // The threads of its blocking pool have the same name.
    for _ in 0..4 {
        drop(unwatched.spawn_blocking(|| ()));
    }
    let warning = messages.wait_for("no scope watches");
    assert!(
        warning.starts_with("no scope watches 1 thread named `tokio-rt-worker`, which runs an event loop"),
        "{warning}"
    );
    drop((watched, unwatched));
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn nothing_watched() {
    let messages = Messages::subscribe(LevelFilter::WARN);
    let scope = start();
    let warning = messages.wait_for("nothing is watched");
    assert!(warning.contains("`Scope::watch`"), "{warning}");
    drop(scope);
}

/// A terminal that is the process's stderr. The terminal of the test is back
/// when it is dropped.
struct StderrTerminal {
    master: File,
    slave: i32,
    stderr: i32,
}

#[allow(unsafe_code)]
impl StderrTerminal {
    fn new() -> Self {
        let (mut master, mut slave) = (-1, -1);
        // SAFETY: the calls write two descriptors to locals and have no other
        // memory; `master` is owned by the result alone.
        unsafe {
            assert_eq!(libc::openpty(&raw mut master, &raw mut slave, null_mut(), null_mut(), null_mut()), 0);
            libc::fcntl(master, libc::F_SETFL, libc::O_NONBLOCK);
            let stderr = libc::dup(2);
            libc::dup2(slave, 2);
            Self { master: File::from_raw_fd(master), slave, stderr }
        }
    }

    fn set_raw(&self, is_raw: bool) {
        // SAFETY: all zero bytes are a valid value, and the calls access only
        // this local.
        unsafe {
            let mut attributes = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(self.slave, &raw mut attributes), 0);
            if is_raw {
                libc::cfmakeraw(&raw mut attributes);
            } else {
                attributes.c_oflag |= libc::OPOST;
                attributes.c_lflag |= libc::ICANON;
            }
            assert_eq!(libc::tcsetattr(self.slave, libc::TCSANOW, &raw const attributes), 0);
        }
    }

    /// Returns what was printed since the previous call.
    fn printed(&mut self) -> String {
        let mut bytes = Vec::new();
        // Ends with an error: there is no more to read.
        let _ = self.master.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[allow(unsafe_code)]
impl Drop for StderrTerminal {
    fn drop(&mut self) {
        // SAFETY: the descriptors are open and belong to this value.
        unsafe {
            libc::dup2(self.stderr, 2);
            libc::close(self.stderr);
            libc::close(self.slave);
        }
    }
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn raw_mode() {
    let mut terminal = StderrTerminal::new();
    let scope = start();
    let runtime = runtime(&scope, 1);
    terminal.set_raw(true);
    stall_until(&scope, &runtime, first_line, |findings| findings.iter().any(|finding| finding.count >= 2));
    let in_raw_mode = terminal.printed();
    terminal.set_raw(false);
    let mut text = String::new();
    // A panic here would be printed on the terminal.
    let begin = Instant::now();
    while !text.contains("again: 2 times") && begin.elapsed() < SCENARIO_TIMEOUT / 5 {
        thread::sleep(Duration::from_millis(5));
        text.push_str(&terminal.printed());
    }
    drop(scope);
    text.push_str(&terminal.printed());
    drop(terminal);
    assert_eq!(in_raw_mode, "");
    assert!(text.contains("\x1b[") && text.contains("[loopscope::"), "drawn with colours: {text:?}");
    assert_eq!(text.matches("again: 2 times").count(), 1, "{text:?}");
    assert_eq!(text.matches("summary: ").count(), 1, "{text:?}");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn raw_mode_to_the_end() {
    let mut terminal = StderrTerminal::new();
    terminal.set_raw(true);
    let scope = start();
    let runtime = runtime(&scope, 1);
    stall_until(&scope, &runtime, first_line, |findings| !findings.is_empty());
    drop(scope);
    let text = terminal.printed();
    drop(terminal);
    assert_eq!(text, "");
}
