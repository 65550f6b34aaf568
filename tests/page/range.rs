//! The time range: zoom, the address, the stalls in it, many workers.

use std::thread;
use std::time::{Duration, Instant};

use loopscope::Named;
use serde_json::Value;

use crate::browser::Browser;
use crate::common::{STALL, eventually, finding, runtime};
use crate::{browser, exclusive, serve};

/// Returns start and end of the visible range, as Unix seconds.
fn range(browser: &mut Browser) -> (f64, f64) {
    let range = browser.value("(({ from, to }) => [from, to])(visibleRange())");
    (range[0].as_f64().unwrap(), range[1].as_f64().unwrap())
}

fn span(browser: &mut Browser) -> f64 {
    let (from, to) = range(browser);
    to - from
}

fn hash(browser: &mut Browser) -> Value {
    browser.value("location.hash")
}

#[test]
fn keys_and_mouse_choose_the_range_and_the_address_keeps_it() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 2);
    runtime.block_on(runtime.spawn(async { thread::sleep(STALL) }.named("blocks"))).unwrap();
    crate::common::flushed(&scope);
    browser.open(&format!("http://{address}/"));
    eventually("the stall", || (browser.text("#longest tr td:nth-child(4)") == "blocks").then_some(()));
    assert!((span(&mut browser) - 60.0).abs() < 0.01);
    assert_eq!(hash(&mut browser), "");

    browser.value("document.querySelector('#chart').focus()");
    browser.press("+");
    assert!((span(&mut browser) - 30.0).abs() < 0.01);
    assert_eq!(hash(&mut browser), "#last=30");
    browser.press("-");
    browser.press("ArrowLeft");
    let (from, to) = range(&mut browser);
    assert!((to - from - 60.0).abs() < 0.01);
    assert!(hash(&mut browser).as_str().unwrap().starts_with("#from="));
    let requests = browser.requested_urls().len();
    eventually("two updates", || {
        browser.value("0");
        (browser.requested_urls().len() > requests + 1).then_some(())
    });
    assert_eq!(range(&mut browser), (from, to), "it does not move with the time");
    browser.press("End");
    assert_eq!(hash(&mut browser), "");
    browser.press("Home");
    assert_eq!(hash(&mut browser), "#all");
    let (start, _) = range(&mut browser);
    assert!(start <= browser.value("recent.stalls[0].from").as_f64().unwrap(), "the first stall is in it");

    // A drag zooms into what it covers, also with the wheel.
    browser.press("End");
    browser.drag("#plot", (0.5, 0.7), (0.75, 0.7));
    let dragged = span(&mut browser);
    assert!((dragged - 15.0).abs() < 0.5, "{dragged}");
    browser.zoom_wheel("#plot", -300);
    eventually("the zoom of the wheel", || (span(&mut browser) < dragged * 0.9).then_some(()));
    let (from, to) = range(&mut browser);
    assert!(browser.text("#range-text").contains(" – "), "{}", browser.text("#range-text"));

    // The address shows the same range in another page.
    let address_of_range = browser.value("location.href");
    browser.open("about:blank");
    browser.open(address_of_range.as_str().unwrap());
    eventually("the page", || (!browser.text("#longest-hint").is_empty()).then_some(()));
    let (later_from, later_to) = range(&mut browser);
    assert!((later_from - from).abs() < 1e-3 && (later_to - to).abs() < 1e-3);
    browser.click("#follow");
    assert!((span(&mut browser) - 60.0).abs() < 0.01);
    assert!(browser.console_messages().is_empty(), "{:#?}", browser.console_messages());
}

#[test]
fn a_stall_leads_to_the_stack_of_its_finding() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 1);
    let line = line!() + 1;
    let stall = async { thread::sleep(STALL) };
    runtime.block_on(runtime.spawn(stall.named("blocks"))).unwrap();
    let place = format!("{}:{line}", file!());
    browser.open(&format!("http://{address}/"));
    eventually("the card", || (browser.text(".card .site") == place).then_some(()));

    browser.value("document.querySelector('#chart').focus()");
    browser.press(",");
    assert_eq!(browser.value("document.querySelector('#stall').hidden"), false);
    let title = browser.text("#stall-title");
    assert!(title.contains("on worker 0 at ") && title.ends_with("task blocks"), "{title}");
    assert!(browser.text("#stall-facts").contains(&place));
    eventually("the stack", || browser.text("#stall-stack").contains(&place).then_some(()));
    let note = browser.text("#stall-note");
    assert!(note.contains("its only stall") && note.contains("one stack for each finding"), "{note}");
    // A range does not reach into the future.
    let is_past = "recent.stalls.every((stall) => serverNow() > stall.to + stallLength(stall))";
    eventually("the third after the stall", || (browser.value(is_past) == true).then_some(()));
    browser.click("#stall-zoom");
    let (from, to) = range(&mut browser);
    assert!((0.3..2.0).contains(&(to - from)), "three times the stall: {}", to - from);
    // The pointer finds the bar, which is the middle third.
    browser.value("closeStall()");
    browser.drag("#lanes .lane-track", (0.5, 0.5), (0.5, 0.5));
    assert_eq!(browser.value("document.querySelector('#stall').hidden"), false);
    browser.click("#stall-finding");
    eventually("the finding", || {
        (browser.value("document.activeElement.className").as_str()?.contains("card")).then_some(())
    });
    browser.value("document.querySelector('#stall').focus()");
    browser.press("Escape");
    assert_eq!(browser.value("document.querySelector('#stall').hidden"), true);
    assert_eq!(browser.value("document.activeElement.id"), "chart", "the focus is not lost");
}

#[test]
fn workers_without_stalls_share_one_lane() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 40);
    browser.open(&format!("http://{address}/"));
    let rows = "document.querySelectorAll('#lanes .lane').length";
    eventually("one row for all", || (browser.value(rows) == 1).then_some(()));
    runtime.block_on(runtime.spawn(async { thread::sleep(STALL) }.named("blocks"))).unwrap();
    browser.value("document.activeElement.blur()");
    eventually("a row of the stalled worker", || (browser.value(rows) == 2).then_some(()));
    eventually("its stall", || browser.text(".lane-state").contains("1 stall").then_some(()));
    browser.click(".lane-name button");
    let open = browser.value(rows).as_u64().unwrap();
    assert!(open > 40, "{open}");
    assert_eq!(browser.value("document.querySelector('.lane-name button').ariaExpanded"), "true");
    // The findings stay near the top when the lanes are folded.
    browser.click(".lane-name button");
    let top = "document.querySelector('#findings').getBoundingClientRect().top + scrollY";
    assert!(browser.value(top).as_f64().unwrap() < 600.0, "{}", browser.value(top));
}

/// The share of the lost time is of the time since the start, not of a minute.
#[test]
fn the_first_figures_are_of_the_age_of_the_scope() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    // The browser is running already, so that the scope is young.
    let (scope, address) = serve("127.0.0.1:0");
    let start = Instant::now();
    let runtime = runtime(&scope, 1);
    let stall = Duration::from_millis(600);
    runtime.block_on(runtime.spawn(async move { thread::sleep(stall) }.named("blocks"))).unwrap();
    browser.open(&format!("http://{address}/"));
    let tile =
        "['value', 'note'].map((name) => document.querySelector(`#tile-lost .${name}`)?.textContent ?? '')";
    let shown = eventually("the first figures", || {
        let tile = browser.value(tile);
        let is_of_the_age = tile[1].as_str()?.contains("since the start") && tile[0] != "0.0 %";
        is_of_the_age.then(|| tile[0].as_str().unwrap().to_owned())
    });
    let age = start.elapsed();
    let share: f64 = shown.trim_end_matches(" %").parse().unwrap();
    // On a busy machine, a part of the sleep is a wait for a CPU.
    let lost = finding(&scope, "blocks").total;
    let least = 100.0 * lost.as_secs_f64() / age.as_secs_f64();
    assert!(share >= least * 0.9, "{share} % is shown, at least {least} % is right");
    assert!(share > 2.0, "{share}");
}

/// Busy time is counted as a poll ends, but a long poll must not look idle.
#[test]
fn a_poll_in_progress_makes_its_worker_and_its_kind_busy() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 2);
    let (release, is_released) = std::sync::mpsc::channel::<()>();
    let task = runtime.spawn(
        async move {
            let _ = is_released.recv();
        }
        .named("blocks"),
    );
    browser.open(&format!("http://{address}/"));
    let shares = "['#tile-busy .value', '#kinds td:nth-of-type(3)'].map((selector) => \
                  parseFloat(document.querySelector(selector)?.textContent ?? '') || 0)";
    eventually("both shares", || {
        let shares = browser.value(shares);
        (shares[0].as_f64()? > 5.0 && shares[1].as_f64()? > 5.0).then_some(())
    });
    // Each of them says of what it is a share.
    assert!(
        browser.text("#tile-busy .note").starts_with("of 2 workers"),
        "{}",
        browser.text("#tile-busy .note")
    );
    assert_eq!(browser.text("th[data-key=share]"), "Busy, of one worker");
    let kinds = scope.snapshot().kinds;
    assert!(kinds.iter().all(|kind| kind.name != "blocks" || kind.poll_time.count == 0), "it is in progress");
    drop(release);
    runtime.block_on(task).unwrap();
}
