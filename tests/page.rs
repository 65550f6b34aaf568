//! The live page in a real browser.

#[path = "common/browser.rs"]
mod browser;
mod common;

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use browser::Browser;
use common::{eventually, runtime};
use loopscope::{Named, Scope, Terminal};

fn served(address: &str) -> (Scope, SocketAddr) {
    let scope =
        Scope::builder().terminal(Terminal::Never).telemetry(address.parse().unwrap()).start().unwrap();
    let address = scope.telemetry_address().unwrap();
    (scope, address)
}

/// One at a time: a stall has to show within a time that two browsers on two
/// CPUs would need for themselves.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says so where there is no browser, so that nobody takes it for a success.
fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        assert!(
            std::env::var_os("LOOPSCOPE_BROWSER").is_none(),
            "no Chromium, but LOOPSCOPE_BROWSER asks for it"
        );
        eprintln!(
            "SKIPPED: the live page was not tested, since no Chromium is installed (apt-get install chromium)"
        );
    }
    browser
}

/// For how long somebody on this machine had no CPU, so far: where other work
/// goes on, a page takes its time through no fault of its own.
fn cpu_pressure() -> Duration {
    let text = fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let total = text.lines().next().and_then(|line| line.rsplit_once("total=")?.1.parse().ok());
    Duration::from_micros(total.unwrap_or_default())
}

/// The name of a task that would be a script, were it written as markup.
const SCRIPT: &str = "<script>window.hacked = true</script><img onerror='window.hacked = true' src=x>";

#[test]
fn a_stall_shows_as_it_happens_and_nothing_else_is_asked_for() {
    let _alone = alone();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = served("127.0.0.1:0");
    let runtime = runtime(&scope, 2);
    browser.open(&format!("http://{address}/"));
    eventually("the first answer", || (browser.text("#status") == "no stall now").then_some(()));

    // A stall that goes on until all has been seen, with its line.
    let over = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&over);
    let (begun, others) = (Instant::now(), cpu_pressure());
    let line = line!() + 3;
    let stall = async move {
        while !until.load(Relaxed) {
            thread::sleep(Duration::from_millis(100));
        }
    };
    let task = runtime.spawn(stall.named("blocks"));
    let place = format!("tests/page.rs:{line}");
    let state = eventually("the stall in its lane", || {
        let state = browser.text(".lane.blocked .lane-state");
        state.contains(&place).then_some(state)
    });
    let (took, lost) = (begun.elapsed(), cpu_pressure() - others);
    eprintln!("shown after {took:.2?}, in which somebody waited for a CPU for {lost:.2?}");
    assert!(took < Duration::from_secs(2) + lost, "shown only after {took:?}: {state}");
    assert!(state.contains("std::thread::sleep"), "{state}");
    eventually("the stall has grown", || {
        let later = browser.text(".lane.blocked .lane-state");
        (later != state && later.ends_with(state.rsplit(" · ").next().unwrap())).then_some(())
    });

    // The card: line, advice, and the stack when opened.
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

    // Paused, it stands; resumed, it goes on.
    browser.press("p");
    eventually("the pause", || browser.text("#status").starts_with("paused at").then_some(()));
    assert_eq!(browser.value("document.querySelector('#pause').ariaPressed"), "true");
    let asked = browser.requested().len();
    let stands = browser.text(".lane.blocked .lane-state");
    over.store(true, Relaxed);
    runtime.block_on(task).unwrap();
    thread::sleep(Duration::from_millis(1_500));
    assert_eq!(browser.text(".lane.blocked .lane-state"), stands);
    assert_eq!(browser.requested().len(), asked, "it asked on though paused");
    browser.press("p");
    eventually("the end of the stall", || (browser.text("#status") == "no stall now").then_some(()));

    // A name is text, whatever is in it.
    let evil = async { thread::sleep(Duration::from_millis(100)) };
    runtime.block_on(runtime.spawn(evil.named(SCRIPT))).unwrap();
    eventually("the odd name in the table", || browser.text("#kinds").contains(SCRIPT).then_some(()));
    eventually("the odd name in a card", || browser.text("#cards").contains(SCRIPT).then_some(()));
    assert!(browser.value("window.hacked ?? null").is_null());

    let origin = format!("http://{address}/");
    let foreign: Vec<_> = browser
        .requested()
        .into_iter()
        .filter(|url| !url.starts_with(&origin) && url != "about:blank" && url != "data:,")
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
}

/// Without a mouse, and without seeing it.
#[test]
fn keys_and_screen_readers_reach_everything() {
    let _alone = alone();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = served("127.0.0.1:0");
    let runtime = runtime(&scope, 2);
    let line = line!() + 1;
    let stall = async { thread::sleep(Duration::from_millis(100)) };
    runtime.block_on(runtime.spawn(stall.named("blocks"))).unwrap();
    let place = format!("tests/page.rs:{line}");
    browser.open(&format!("http://{address}/"));
    eventually("the card", || (browser.text(".card .site") == place).then_some(()));
    eventually("its stack", || browser.text(".card summary").contains("frames").then_some(()));

    let nodes = browser.accessible();
    let named = |role: &str, name: &str| nodes.iter().any(|(r, n)| r == role && n.starts_with(name));
    let wanted = [
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
    ];
    for (role, name) in wanted {
        assert!(named(role, name), "no {role} {name:?} in {nodes:#?}");
    }
    let operated = ["link", "button", "searchbox", "textbox", "DisclosureTriangle"];
    let nameless: Vec<_> =
        nodes.iter().filter(|(role, name)| operated.contains(&role.as_str()) && name.is_empty()).collect();
    assert!(nameless.is_empty(), "{nameless:?}");

    // The first key leads past everything to the findings; the next ones through them.
    let focus =
        "document.activeElement.className || document.activeElement.id || document.activeElement.tagName";
    browser.press("Tab");
    assert_eq!(browser.value(focus), "skip");
    assert!(browser.value("document.activeElement.getBoundingClientRect().width").as_f64().unwrap() > 50.0);
    browser.press("Enter");
    eventually("the findings", || (browser.value(focus) == "findings").then_some(()));
    let path: Vec<_> = (0..4)
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
    eventually("the copy, or why not", || (browser.text(".card .copy") != "Copy as text").then_some(()));
    assert_eq!(browser.text("#announcement"), browser.text(".card .copy"), "is told, too");
    // What has the keyboard's focus stays where it is, though the page goes on.
    let asked = browser.requested().len();
    eventually("three answers", || {
        browser.value("0");
        (browser.requested().len() > asked + 3).then_some(())
    });
    assert_eq!(browser.value(focus), "copy");

    // In a text field, a letter is a letter.
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
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
}

#[test]
fn it_survives_the_server() {
    let _alone = alone();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = served("127.0.0.1:0");
    let watched = runtime(&scope, 1);
    browser.open(&format!("http://{address}/"));
    eventually("the first answer", || (browser.text("#status") == "no stall now").then_some(()));
    drop(scope);
    drop(watched);
    eventually("the absence", || browser.text("#status").starts_with("no answer since").then_some(()));
    let (scope, _) = served(&address.to_string());
    let watched = runtime(&scope, 3);
    watched.block_on(watched.spawn(async {}.named("after"))).unwrap();
    eventually("the new server", || (browser.text("#status") == "no stall now").then_some(()));
    eventually("its tasks", || browser.text("#kinds").contains("after").then_some(()));
}

#[test]
fn it_holds_as_many_kinds_and_findings_as_there_may_be() {
    let _alone = alone();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = served("127.0.0.1:0");
    let runtime = runtime(&scope, 2);
    for kind in 0..256 {
        let name: &'static str = format!("kind {kind}").leak();
        runtime.block_on(runtime.spawn(async {}.named(name))).unwrap();
    }
    browser.open(&format!("http://{address}/"));
    eventually("all kinds", || {
        (browser.value("document.querySelectorAll('#kinds tr').length").as_u64()? >= 256).then_some(())
    });
    let others = cpu_pressure();
    // As many findings as are kept, made from the one answer that it has.
    let took = browser.value(
        r#"(() => {
            const live = structuredClone(page.live);
            live.findings = Array.from({ length: 500 }, (_, n) => ({
                id: `none-${n}`, cause: "cpu", primitive: null, function: `f${n}`, site: `src/a.rs:${n}`, task: "t",
                count: n, total_seconds: n, max_seconds: 1, ongoing_seconds: null, victims: 0,
                victims_delay_seconds: 0, advice: "x", evidence: "stack", last_seen_unix_seconds: 0,
            }));
            setPaused(true);
            showAll = true;
            const begun = performance.now();
            render(live);
            const first = performance.now() - begun;
            live.findings.forEach((finding) => (finding.count += 1));
            render(live);
            return [document.querySelectorAll(".card").length, first, performance.now() - begun - first];
        })()"#,
    );
    eprintln!("256 kinds, 500 findings: cards, ms for the first and the second drawing: {took}");
    assert_eq!(took[0], 500);
    let again = Duration::from_secs_f64(took[2].as_f64().unwrap() / 1e3);
    let lost = cpu_pressure() - others;
    assert!(again < Duration::from_millis(500) + lost, "to draw again what changed took {again:?}");
}

/// `LOOPSCOPE_PAGE=http://127.0.0.1:9464/ cargo test --test page -- --ignored pictures`
/// writes pictures of that server's page to docs/.
#[test]
#[ignore = "draws docs/page-*.png from a server that is under load"]
fn pictures() {
    let url = std::env::var("LOOPSCOPE_PAGE").expect("LOOPSCOPE_PAGE is the address of a page");
    let mut browser = Browser::start().expect("Chromium");
    browser.appear(1200, 900, "light");
    browser.open(&url);
    let seconds = std::env::var("LOOPSCOPE_PAGE_SECONDS").map_or(30, |seconds| seconds.parse().unwrap());
    thread::sleep(Duration::from_secs(seconds));
    for scheme in ["light", "dark"] {
        browser.appear(1200, 900, scheme);
        // With a stall in progress, which is what one comes for.
        eventually("a stall", || (browser.text(".lane.blocked .lane-state").contains(".rs:")).then_some(()));
        let png = BASE64_STANDARD.decode(browser.picture()).unwrap();
        fs::write(format!("{}/docs/page-{scheme}.png", env!("CARGO_MANIFEST_DIR")), png).unwrap();
    }
}
