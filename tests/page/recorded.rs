//! What happened before the page was opened, and the figures of a young scope.

use std::thread;
use std::time::{Duration, Instant};

use loopscope::{Named, Scope, Terminal};

use crate::common::{self, eventually, runtime};
use crate::{browser, exclusive, serve};

/// Returns the colour of the lane of worker 0 at a time, as CSS writes it.
const COLOR_AT: &str = "const colorAt = (time) => {
    drawLanes();
    const [row] = chart.rows;
    const x = xAt(time, visibleRange()) * devicePixelRatio;
    const y = (row.top + row.height / 2) * devicePixelRatio;
    const [red, green, blue] = chart.plot.getContext('2d').getImageData(x, y, 1, 1).data;
    return '#' + [red, green, blue].map((part) => part.toString(16).padStart(2, '0')).join('');
};";

#[test]
fn polls_before_the_page_was_opened_are_shown_as_far_as_they_are_recorded() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    // No poll is a stall.
    let scope = Scope::builder()
        .terminal(Terminal::Never)
        .blocking_threshold(Duration::from_secs(60))
        .telemetry("127.0.0.1:0".parse().unwrap())
        .start()
        .unwrap();
    let address = scope.telemetry_address().unwrap();
    // Before the runtime exists, nothing is recorded of its worker.
    thread::sleep(Duration::from_millis(300));
    let runtime = runtime(&scope, 1);
    for _ in 0..20 {
        let short = async { common::spin(Duration::from_millis(3)) };
        runtime.block_on(runtime.spawn(short.named("short"))).unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    browser.open(&format!("http://{address}/"));
    eventually("the recorded polls", || {
        (browser.text("#longest tr td:nth-child(4)") == "short").then_some(())
    });
    assert_eq!(browser.text("#longest tr td:nth-child(5)"), "no stall");
    browser.value(COLOR_AT);
    let worker = "recorded.workers.get('0')";
    let count = browser.value(&format!("{worker}.polls.filter(({{ task }}) => task === 'short').length"));
    assert_eq!(count, 20);

    // The longest one is in the middle third after a click on its button.
    browser.value("globalThis.longest = document.querySelector('#longest tr').stall");
    browser.click("#longest button");
    let length = "(({ from, to }) => (to - from) / (longest.to - longest.from))(visibleRange())";
    assert!((browser.value(length).as_f64().unwrap() - 3.0).abs() < 0.01);
    eventually("the polls of that range", || {
        browser.value("isLoaded(visibleRange())").as_bool()?.then_some(())
    });
    let middle = "colorAt((longest.from + longest.to) / 2) === colors.poll";
    assert_eq!(
        browser.value(middle),
        true,
        "{}",
        browser.value("[colorAt((longest.from + longest.to) / 2), colors]")
    );
    assert_eq!(
        browser.value(
            "colorAt(longest.from - Math.min(0.005, (longest.to - longest.from) / 2)) === colors.poll"
        ),
        false
    );
    browser.drag("#plot", (0.5, 0.7), (0.5, 0.7));
    let readout = browser.text("#readout");
    assert!(readout.starts_with("Poll of ") && readout.ends_with("task short"), "{readout}");

    // Nothing is known of the first 300 ms.
    browser.value("setRange(page.live.start, page.live.start + 0.6)");
    eventually("the polls of that range", || {
        browser.value("isLoaded(visibleRange())").as_bool()?.then_some(())
    });
    let hatched = "[...Array(60).keys()].filter((n) => colorAt(page.live.start + 0.05 + n * 0.003) !== colors.paper).length";
    let hatched = browser.value(hatched).as_u64().unwrap();
    assert!((5..55).contains(&hatched), "{hatched} of 60 places are of a line");
    assert!(browser.value(&format!("{worker}.since - page.live.start")).as_f64() >= Some(0.3));
    // The browser warns that reading a canvas is slow.
    let messages = browser.console_messages().into_iter();
    let others: Vec<_> = messages.filter(|message| !message.to_string().contains("getImageData")).collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// A clock that is set moves all times of the page, and it forgets nothing.
#[test]
fn a_wall_clock_that_is_set_keeps_the_history() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 1);
    runtime
        .block_on(runtime.spawn(async { thread::sleep(Duration::from_millis(500)) }.named("blocks")))
        .unwrap();
    common::flushed(&scope);
    browser.open(&format!("http://{address}/"));
    eventually("the finding", || (!browser.text(".card .site").is_empty()).then_some(()));
    let distances = browser.value(
        "fetch('live').then((response) => response.json()).then((live) => {
            setPaused(true);
            const before = { stall: recent.stalls[0].from, start: page.live.start, samples: recent.samples.length };
            live.now_unix_ns += 3600e9;
            live.scope_start_unix_ns += 3600e9;
            live.stalls = [];
            addSample(live, live.now_unix_ns / 1e9 - 1e-3);
            return [recent.stalls[0].from - before.stall, live.start - before.start, recent.samples.length - before.samples];
        })",
    );
    let distance = |index: usize| distances[index].as_f64().unwrap();
    assert!((distance(0) - 3_600.0).abs() < 0.1 && (distance(1) - 3_600.0).abs() < 0.1, "{distances}");
    assert_eq!(distance(2), 1.0, "the samples are kept");
}

/// The figures are of the time since the start, not of a minute.
#[test]
fn the_first_figures_are_of_the_age_of_the_scope() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    // The browser is running already, so that the scope is young.
    let start = Instant::now();
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 1);
    let stall = Duration::from_millis(600);
    runtime.block_on(runtime.spawn(async move { thread::sleep(stall) }.named("blocks"))).unwrap();
    common::flushed(&scope);
    browser.open(&format!("http://{address}/"));
    let tile =
        "['value', 'note'].map((name) => document.querySelector(`#tile-lost .${name}`)?.textContent ?? '')";
    let shown = eventually("the first figures", || {
        let tile = browser.value(tile);
        let is_of_the_age = tile[1].as_str()?.contains("since the start") && tile[0] != "0.0 %";
        is_of_the_age.then(|| tile[0].as_str().unwrap().to_owned())
    });
    let age = start.elapsed();
    // The same figures are in the other documents, of which no figure changes
    // any more but by the age.
    let documents = browser.value(
        "Promise.all(['findings', 'stalls', 'tasks'].map((path) => fetch(path).then((response) => response.json())))",
    );
    let [findings, stalls, tasks] = [0, 1, 2].map(|index| documents[index].clone());
    let [finding] = &findings["findings"].as_array().unwrap()[..] else { panic!("{findings}") };
    let [stall] = &stalls["stalls"].as_array().unwrap()[..] else { panic!("{stalls}") };
    let format = |browser: &mut crate::Browser, seconds: f64| {
        browser.value(&format!("duration({seconds})")).as_str().unwrap().to_owned()
    };
    let share: f64 = shown.trim_end_matches(" %").parse().unwrap();
    let least = 100.0 * finding["total_seconds"].as_f64().unwrap() / age.as_secs_f64();
    assert!(share >= least * 0.9, "{share} % is shown, at least {least} % is right");

    let total = format(&mut browser, finding["total_seconds"].as_f64().unwrap());
    assert_eq!(browser.text(".card .total"), format!("{total} in total"));
    assert!(
        browser.text(".card .facts").starts_with("1 stall, the longest "),
        "{}",
        browser.text(".card .facts")
    );
    let nanos = stall["end_unix_ns"].as_u64().unwrap() - stall["start_unix_ns"].as_u64().unwrap();
    let length = format(&mut browser, nanos as f64 / 1e9);
    assert_eq!(browser.text("#longest th"), length);
    let kinds = tasks["kinds"].as_array().unwrap();
    let kind = kinds.iter().find(|kind| kind["name"] == "blocks").unwrap();
    let longest = format(&mut browser, kind["poll"]["max_seconds"].as_f64().unwrap());
    let row = "[...[...document.querySelectorAll('#kinds tr')].find(({ cells }) => cells[0].textContent === 'blocks').cells]\
               .map((cell) => cell.textContent)";
    let row = browser.value(row);
    assert_eq!(row[5], longest.as_str());
    // The worker was busy for at least the time of the stall.
    for text in [browser.text("#tile-busy .value"), row[3].as_str().unwrap().to_owned()] {
        let busy: f64 = text.trim_end_matches(" %").parse().unwrap();
        let least = 100.0 * 0.6 / start.elapsed().as_secs_f64();
        assert!((least * 0.9..=100.0).contains(&busy), "{text} is shown, at least {least} % is right");
    }
    assert_eq!(browser.text("#tile-now .value"), "0 of 1");
    assert!(browser.text("#tiles-window").ends_with("since the start."), "{}", browser.text("#tiles-window"));
}
