//! The live page in a real browser.

#[path = "../common/browser.rs"]
mod browser;
#[path = "../common/mod.rs"]
mod common;
mod cpu_wait;
mod findings;
mod range;
mod reach;
mod recorded;
mod tree;

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use browser::Browser;
use common::{STALL, eventually, runtime};
use cpu_wait::cpu_wait;
use loopscope::{Named, Scope, Terminal};

/// Starts a scope that serves telemetry at `address`, and returns the actual
/// address.
fn serve(address: &str) -> (Scope, SocketAddr) {
    let scope =
        Scope::builder().terminal(Terminal::Never).telemetry(address.parse().unwrap()).start().unwrap();
    let address = scope.telemetry_address().unwrap();
    (scope, address)
}

/// Held by each test. The page must show a stall within a time limit that two
/// browsers at once would exceed on a machine with two CPUs.
static ONE_BROWSER_AT_A_TIME: Mutex<()> = Mutex::new(());

fn exclusive() -> MutexGuard<'static, ()> {
    ONE_BROWSER_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns how the page shows a line of this file.
fn place(line: u32) -> String {
    format!("{}:{line}", file!())
}

/// Starts a browser. Without an installed browser, it prints that the test is
/// skipped, so that the result is not mistaken for a success.
fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        assert!(
            std::env::var_os("LOOPSCOPE_BROWSER").is_none(),
            "LOOPSCOPE_BROWSER is set, but Chromium is not installed"
        );
        common::not_checked("the live page, because Chromium is not installed (apt-get install chromium)");
    }
    browser
}

/// A task name that would run as a script if the page inserted it as markup.
const SCRIPT: &str = "<script>window.hacked = true</script><img onerror='window.hacked = true' src=x>";

#[test]
fn an_ongoing_stall_is_shown_and_the_page_requests_only_its_own_server() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 2);
    browser.open(&format!("http://{address}/"));
    eventually("the first response", || (browser.text("#status") == "no stall now").then_some(()));

    // The stall lasts until the page has shown it with its line.
    let release = Arc::new(AtomicBool::new(false));
    let is_released = Arc::clone(&release);
    let (start, wait_before) = (Instant::now(), cpu_wait());
    let line = line!() + 3;
    let stall = async move {
        while !is_released.load(Relaxed) {
            thread::sleep(Duration::from_millis(100));
        }
    };
    let task = runtime.spawn(stall.named("blocks"));
    let place = place(line);
    let state = eventually("the stall in its lane", || {
        let state = browser.text(".lane.blocked .lane-state");
        state.contains(&place).then_some(state)
    });
    let (took, waited) = (start.elapsed(), cpu_wait().saturating_sub(wait_before));
    eprintln!("shown after {took:.2?}; the threads of server and browser waited {waited:.2?} for a CPU");
    assert!(took < Duration::from_secs(2) + waited, "shown only after {took:?}: {state}");
    assert!(state.contains("std::thread::sleep"), "{state}");
    eventually("the growing age of the stall", || {
        let later = browser.text(".lane.blocked .lane-state");
        (later != state && later.ends_with(state.rsplit(" · ").next().unwrap())).then_some(())
    });

    // The card shows line and advice, and the stack when it is opened.
    eventually("the card", || (browser.text(".card .site") == place).then_some(()));
    assert!(
        browser.text(".card .advice").contains("tokio::time::sleep"),
        "{}",
        browser.text(".card .advice")
    );
    eventually("the source", || {
        browser.text(".card .source").contains("thread::sleep(Duration").then_some(())
    });
    browser.value("document.querySelector('.card summary').click()");
    eventually("the stack", || browser.text(".card .stack").contains(&place).then_some(()));

    // The page does not change while it is paused, and continues afterwards.
    browser.press("p");
    eventually("the pause", || browser.text("#status").starts_with("paused at").then_some(()));
    assert_eq!(browser.value("document.querySelector('#pause').ariaPressed"), "true");
    let requests = browser.requested_urls().len();
    let paused_state = browser.text(".lane.blocked .lane-state");
    release.store(true, Relaxed);
    runtime.block_on(task).unwrap();
    thread::sleep(Duration::from_millis(1_500));
    assert_eq!(browser.text(".lane.blocked .lane-state"), paused_state);
    assert_eq!(browser.requested_urls().len(), requests, "a paused page sends no request");
    browser.press("p");
    eventually("the end of the stall", || (browser.text("#status") == "no stall now").then_some(()));

    // The page shows a name as text, even if it contains markup.
    let stall_with_markup_name = async { thread::sleep(STALL) };
    runtime.block_on(runtime.spawn(stall_with_markup_name.named(SCRIPT))).unwrap();
    eventually("the name with markup in the table", || browser.text("#kinds").contains(SCRIPT).then_some(()));
    eventually("the name with markup in a card", || browser.text("#cards").contains(SCRIPT).then_some(()));
    assert!(browser.value("window.hacked ?? null").is_null());

    let origin = format!("http://{address}/");
    let foreign: Vec<_> = browser
        .requested_urls()
        .into_iter()
        .filter(|url| !url.starts_with(&origin) && url != "about:blank" && url != "data:,")
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(browser.console_messages().is_empty(), "{:#?}", browser.console_messages());
}

/// The page can be used without a mouse and without sight.
#[test]
fn keyboard_and_screen_reader_reach_every_control() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 2);
    let line = line!() + 1;
    let stall = async { thread::sleep(STALL) };
    runtime.block_on(runtime.spawn(stall.named("blocks"))).unwrap();
    let place = place(line);
    browser.open(&format!("http://{address}/"));
    eventually("the card", || (browser.text(".card .site") == place).then_some(()));
    eventually("its stack", || browser.text(".card summary").contains("frames").then_some(()));

    let expected_nodes = [
        ("link", "Skip to the findings"),
        ("banner", ""),
        ("main", ""),
        ("contentinfo", ""),
        ("status", ""),
        ("heading", "loopscope"),
        ("heading", "Workers"),
        ("heading", "Findings (1)"),
        ("heading", &format!("sleep {place}")),
        ("heading", "Kinds of tasks"),
        ("region", "The last minute"),
        ("group", "worker 0"),
        ("group", "worker 1"),
        ("article", ""),
        ("searchbox", "Filter"),
        ("columnheader", "Kind"),
        ("columnheader", "Delay, p99"),
        ("rowheader", "blocks"),
        ("link", &format!("as text: {place}")),
        ("button", &format!("Copy as text: {place}")),
        ("button", "Pause"),
        ("group", "Time range"),
        ("button", "Zoom in"),
        ("group", "Stalls of the workers over time"),
        ("list", "Colours"),
        ("button", &format!("Hide: {place}")),
        ("columnheader", "Began"),
        ("button", "Select: "),
    ];
    // Chromium builds the tree in parts, so the first answers may be incomplete.
    let begin = Instant::now();
    let nodes = loop {
        let nodes = browser.accessibility_nodes();
        let is_named =
            |(role, name): &(&str, &str)| nodes.iter().any(|(r, n)| r == role && n.starts_with(name));
        let missing = expected_nodes.iter().find(|expected| !is_named(expected));
        let Some((role, name)) = missing else { break nodes };
        assert!(begin.elapsed() < Duration::from_secs(20), "no {role} {name:?} in {nodes:#?}");
        thread::sleep(Duration::from_millis(50));
    };
    let control_roles = ["link", "button", "searchbox", "textbox", "DisclosureTriangle"];
    let unnamed_controls: Vec<_> = nodes
        .iter()
        .filter(|(role, name)| control_roles.contains(&role.as_str()) && name.is_empty())
        .collect();
    assert!(unnamed_controls.is_empty(), "{unnamed_controls:?}");

    // The first Tab reaches the link that skips to the findings. The next ones
    // move through the findings.
    let focus =
        "document.activeElement.className || document.activeElement.id || document.activeElement.tagName";
    browser.press("Tab");
    assert_eq!(browser.value(focus), "skip");
    assert!(browser.value("document.activeElement.getBoundingClientRect().width").as_f64().unwrap() > 50.0);
    browser.press("Enter");
    eventually("the focus on the findings", || (browser.value(focus) == "findings").then_some(()));
    let path: Vec<_> = (0..7)
        .map(|_| {
            browser.press("Tab");
            browser.value(focus)
        })
        .collect();
    assert_eq!(path[0], "findings-filter", "{path:?}");
    assert!(path.contains(&"SUMMARY".into()) && path.contains(&"link".into()), "{path:?}");
    while browser.value(focus) != "copy" {
        browser.press("Tab");
    }
    browser.press("Enter");
    eventually("the result of the copy", || (browser.text(".card .copy") != "Copy as text").then_some(()));
    assert_eq!(browser.text("#announcement"), browser.text(".card .copy"), "the result is announced, too");
    // The focused element keeps the focus when the page updates.
    let requests = browser.requested_urls().len();
    eventually("three updates", || {
        browser.value("0");
        (browser.requested_urls().len() > requests + 3).then_some(())
    });
    assert_eq!(browser.value(focus), "copy");

    // In a text field, the pause key types a letter.
    browser.value("document.querySelector('#tasks-filter').focus()");
    browser.press("p");
    assert_eq!(browser.value("document.querySelector('#tasks-filter').value"), "p");
    assert!(!browser.text("#status").starts_with("paused"));
    browser.value("document.querySelector('#pause').focus()");
    browser.press(" ");
    eventually("the pause", || browser.text("#announcement").starts_with("paused at").then_some(()));
    browser.value("document.querySelector('th[data-key=name] button').focus()");
    browser.press("Enter");
    assert_eq!(browser.value("document.querySelector('th[data-key=name]').ariaSort"), "ascending");
    assert!(browser.console_messages().is_empty(), "{:#?}", browser.console_messages());
}

#[test]
fn the_page_continues_after_the_server_restarts() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let watched = runtime(&scope, 1);
    browser.open(&format!("http://{address}/"));
    eventually("the first response", || (browser.text("#status") == "no stall now").then_some(()));
    drop(scope);
    drop(watched);
    eventually("the notice that the server does not respond", || {
        browser.text("#status").starts_with("no answer since").then_some(())
    });
    let (scope, _) = serve(&address.to_string());
    let watched = runtime(&scope, 3);
    watched.block_on(watched.spawn(async {}.named("after"))).unwrap();
    eventually("the new server", || (browser.text("#status") == "no stall now").then_some(()));
    eventually("its tasks", || browser.text("#kinds").contains("after").then_some(()));
}

#[test]
fn the_page_shows_the_maximum_number_of_kinds_and_findings_quickly() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 2);
    for kind in 0..256 {
        let name: &'static str = format!("kind {kind}").leak();
        runtime.block_on(runtime.spawn(async {}.named(name))).unwrap();
    }
    browser.open(&format!("http://{address}/"));
    eventually("the first kinds", || browser.text("#tasks-all").starts_with("Show all 25").then_some(()));
    browser.click("#tasks-all");
    eventually("all kinds", || {
        (browser.value("document.querySelectorAll('#kinds tr').length").as_u64()? >= 256).then_some(())
    });
    let wait_before = cpu_wait();
    // Renders as many findings as the library keeps. They replace the findings
    // of the last response.
    let took = browser.value(
        r#"(() => {
            const live = structuredClone(page.live);
            live.findings = Array.from({ length: 500 }, (_, n) => ({
                id: `none-${n}`, cause: "cpu", primitive: null, function: `f${n}`, site: `src/a.rs:${n}`, task: "t",
                count: n, total_seconds: n, max_seconds: 1, ongoing_seconds: null, victim_tasks: 0,
                split: { on_cpu_seconds: n, off_cpu_seconds: 0, run_queue_seconds: 0, paused_seconds: 0, unknown_seconds: 0 },
                victim_delay_seconds: 0, advice: "x", evidence: "stack", last_seen_unix_seconds: 0,
            }));
            setPaused(true);
            showAll = true;
            const start = performance.now();
            render(live);
            const first = performance.now() - start;
            live.findings.forEach((finding) => (finding.count += 1));
            render(live);
            return [document.querySelectorAll(".card").length, first, performance.now() - start - first];
        })()"#,
    );
    eprintln!("256 kinds, 500 findings: cards, ms of the first and the second rendering: {took}");
    assert_eq!(took[0], 500);
    let rerender = Duration::from_secs_f64(took[2].as_f64().unwrap() / 1e3);
    let waited = cpu_wait().saturating_sub(wait_before);
    assert!(rerender < Duration::from_millis(500) + waited, "rendering the changes took {rerender:?}");
}

/// `LOOPSCOPE_PAGE=http://127.0.0.1:9464/ cargo test --test page -- --ignored write_screenshots`
/// writes screenshots of that server's page to docs/.
#[test]
#[ignore = "writes docs/page-*.png; needs a server that is under load"]
fn write_screenshots() {
    let url = std::env::var("LOOPSCOPE_PAGE").expect("LOOPSCOPE_PAGE is the address of a page");
    let mut browser = Browser::start().expect("Chromium");
    browser.set_appearance(1200, 900, "light");
    browser.open(&url);
    let seconds = std::env::var("LOOPSCOPE_PAGE_SECONDS").map_or(30, |seconds| seconds.parse().unwrap());
    thread::sleep(Duration::from_secs(seconds));
    let pictures = [("light", 1200, 900), ("dark", 1200, 900), ("phone", 390, 844), ("zoom", 1200, 900)];
    for (name, width, height) in pictures {
        browser.set_appearance(width, height, if name == "dark" { "dark" } else { "light" });
        if name == "zoom" {
            // One second around a stall, and its stack.
            browser.value(
                "(() => { const stall = recent.stalls.findLast(({ from, to }) => to - from < 0.4 && from < serverNow() - 3); \
                 setRange(stall.from - 0.4, stall.from + 0.6); selectStall(stall); })()",
            );
            eventually("the stack", || (!browser.text("#stall-stack").is_empty()).then_some(()));
            eventually("the polls", || browser.value("isLoaded(visibleRange())").as_bool()?.then_some(()));
        } else {
            // The picture shows a stall in progress.
            eventually("a stall in progress", || {
                browser.text(".lane.blocked .lane-state").contains(".rs:").then_some(())
            });
        }
        let png = BASE64_STANDARD.decode(browser.screenshot()).unwrap();
        fs::write(format!("{}/docs/page-{name}.png", env!("CARGO_MANIFEST_DIR")), png).unwrap();
    }
}
