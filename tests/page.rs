//! The live page in a real browser.

#[path = "common/browser.rs"]
mod browser;
mod common;

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
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

    // A stall that goes on, with its line, before it has ended.
    let begun = Instant::now();
    let line = line!() + 2;
    let stall = async move {
        thread::sleep(Duration::from_secs(8));
    };
    let task = runtime.spawn(stall.named("blocks"));
    let place = format!("tests/page.rs:{line}");
    let state = eventually("the stall in its lane", || {
        let state = browser.text(".lane.blocked .lane-state");
        state.contains(&place).then_some(state)
    });
    assert!(begun.elapsed() < Duration::from_secs(2), "shown only after {:?}: {state}", begun.elapsed());
    assert!(state.contains("std::thread::sleep"), "{state}");
    let grown = eventually("the stall has grown", || {
        let later = browser.text(".lane.blocked .lane-state");
        (later != state && later.ends_with(state.rsplit(" · ").next().unwrap())).then_some(later)
    });
    assert!(begun.elapsed() < Duration::from_secs(6), "{grown}");

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
    assert!(took[2].as_f64().unwrap() < 500.0, "to draw again what changed took {took} ms");
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
        std::fs::write(format!("{}/docs/page-{scheme}.png", env!("CARGO_MANIFEST_DIR")), png).unwrap();
    }
}
