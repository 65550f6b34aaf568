//! The findings of the page: order, groups, links, the flame graph.

use std::thread;
use std::time::Duration;

use loopscope::Named;

use crate::common::{STALL, eventually, runtime};
use crate::{browser, exclusive, serve};

#[test]
fn findings_are_sorted_grouped_filtered_and_hidden() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 1);
    let first = line!() + 1;
    let long = async { thread::sleep(STALL) };
    runtime.block_on(runtime.spawn(long.named("long"))).unwrap();
    for _ in 0..3 {
        let short = async { thread::sleep(Duration::from_millis(60)) };
        runtime.block_on(runtime.spawn(short.named("short"))).unwrap();
    }
    let (long, short) = (format!("{}:{first}", file!()), format!("{}:{}", file!(), first + 3));
    crate::common::flushed(&scope);
    browser.open(&format!("http://{address}/"));
    let order = "[...document.querySelectorAll('.card .site')].map((site) => site.textContent).join()";
    eventually("the longer one first", || (browser.value(order) == format!("{long},{short}")).then_some(()));
    browser.choose("#findings-sort", "count");
    assert_eq!(browser.value(order), format!("{short},{long}"), "by the number of stalls");
    browser.choose("#findings-group", "task");
    assert!(browser.text("h3.group").starts_with("short: 1 finding, "), "{}", browser.text("h3.group"));

    // Each has its line over time and the split of its time.
    let split = eventually("the split", || {
        let split = browser.text(".split-text");
        split.contains('%').then_some(split)
    });
    assert!(split.contains("waiting"), "a sleep waits: {split}");
    assert!(
        browser.value("document.querySelector('.line path').getAttribute('d').length").as_u64() > Some(100)
    );
    assert!(browser.text(".line-text").ends_with("in the range"), "{}", browser.text(".line-text"));
    assert!(!browser.text(".advice").contains('`'));
    assert_eq!(browser.text(".advice code"), "tokio::time::sleep(..).await");

    // The time in a range is the code's own time, as the total is: not the time
    // by the clock, which includes waits for a CPU.
    let share = "ownShare({ split: { on_cpu_seconds: 1, off_cpu_seconds: 2, run_queue_seconds: 3, paused_seconds: 0, \
                 unknown_seconds: 0 } })";
    assert_eq!(browser.value(share), 0.5);
    let ratios = browser.value(
        "(({ findings }) => page.live.findings.map(({ id, total_seconds }) => findings.get(id).seconds / total_seconds))\
         (rangeSums({ from: historyStart(), to: serverNow() }))",
    );
    let is_equal = |ratio: &serde_json::Value| (0.98..1.02).contains(&ratio.as_f64().unwrap());
    assert!(ratios.as_array().unwrap().iter().all(is_equal), "{ratios}");

    browser.choose("#findings-filter", "no such thing");
    assert!(
        browser.text("#findings-none").starts_with("No finding matches"),
        "{}",
        browser.text("#findings-none")
    );
    assert_eq!(browser.value("document.querySelector('#findings-none').hidden"), false);
    assert_eq!(browser.text("#findings-title"), "Findings (0 of 2)");
    browser.choose("#findings-filter", "");

    browser.click(".card .hide");
    assert_eq!(browser.value(order), long);
    assert_eq!(browser.text("#findings-hidden"), "1 hidden");
    browser.open("about:blank");
    browser.open(&format!("http://{address}/"));
    eventually("the settings are kept", || (browser.value(order) == long).then_some(()));
    browser.click("#findings-hidden");
    assert_eq!(browser.value(order), format!("{short},{long}"));
    browser.click(".card.hidden .hide");
    assert_eq!(browser.value("document.querySelector('#findings-hidden').hidden"), true);
    assert!(browser.console_messages().is_empty(), "{:#?}", browser.console_messages());
}

#[test]
fn an_address_opens_its_finding_and_lines_open_in_an_editor() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 1);
    let mut line = 0;
    for name in ["first", "second"] {
        line = line!() + 1;
        let stall = async { thread::sleep(STALL) };
        runtime.block_on(runtime.spawn(stall.named(name))).unwrap();
    }
    let other = async { thread::sleep(Duration::from_millis(300)) };
    runtime.block_on(runtime.spawn(other.named("other"))).unwrap();
    let place = format!("{}:{line}", file!());
    let id = eventually("the finding", || {
        let findings = scope.findings().findings.into_iter();
        let at_line = |site: &loopscope::Site| site.to_string() == place;
        findings.filter(|finding| finding.site.as_ref().is_some_and(at_line)).map(|finding| finding.id).next()
    });
    browser.open(&format!("http://{address}/#finding={id}"));
    let opened = format!("document.querySelector('#card-{id} details')?.open");
    eventually("the open finding", || (browser.value(&opened) == true).then_some(()));
    assert_eq!(browser.value("document.activeElement.id"), format!("card-{id}"));
    assert_eq!(
        browser.value(&format!("document.querySelector('#card-{id}').classList.contains('target')")),
        true
    );
    let link = browser.value(&format!("document.querySelector('#card-{id} .here').href"));
    assert_eq!(link, format!("http://{address}/#finding={id}"));

    browser.value("location.hash = '#finding=0123456789abcdef'");
    eventually("the note that it is not known", || {
        (browser.value("document.querySelector('#findings-missing').hidden") == false).then_some(())
    });
    browser.value(&format!("location.hash = '#finding={id}'"));
    eventually("the known one again", || {
        (browser.value("document.querySelector('#findings-missing').hidden") == true).then_some(())
    });

    // The link to the editor is a setting.
    let site = format!("document.querySelector('#card-{id} .site a')?.getAttribute('href') ?? null");
    assert!(browser.value(&site).is_null());
    browser.choose("#editor", "vscode://file{file}:{line}");
    browser.choose("#editor-folder", "/home/me/my project/");
    assert_eq!(browser.value(&site), format!("vscode://file/home/me/my%20project/{place}"));
    for refused in ["javascript:alert(1)//{file}", "JavaScript:alert(1)", "data:text/html,x", "no scheme"] {
        browser.choose("#editor", "other");
        browser.choose("#editor-url", refused);
        assert!(browser.value(&site).is_null(), "{refused}");
    }
    let targets = "[...document.querySelectorAll('footer a')].map((a) => a.getAttribute('href')).join()";
    let targets = browser.value(targets);
    for wanted in
        ["trace", "profile.pb.gz", "profile.svg", "findings.sarif", "findings.txt", "profile.folded"]
    {
        assert!(targets.as_str().unwrap().split(',').any(|target| target == wanted), "{wanted} in {targets}");
    }
}

#[test]
fn the_flame_graph_is_used_with_the_keyboard() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 1);
    let line = line!() + 1;
    let stall = async { thread::sleep(STALL) };
    runtime.block_on(runtime.spawn(stall.named("blocks"))).unwrap();
    browser.open(&format!("http://{address}/"));
    eventually("the card", || (!browser.text(".card .site").is_empty()).then_some(()));
    browser.value("document.querySelector('#flame summary').focus()");
    browser.press("Enter");
    eventually("the graph", || (browser.text("#flame-tree .frame") == "all").then_some(()));
    let named =
        "[...document.querySelectorAll('#flame-tree .frame')].map((frame) => frame.ariaLabel).join('|')";
    let place = format!("{}:{line}", file!());
    let names = browser.value(named);
    assert!(names.as_str().unwrap().contains(&place), "{names}");
    browser.value("document.querySelector('#flame-tree .frame').focus()");
    browser.press("ArrowDown");
    let focused = browser.value("document.activeElement.ariaLabel");
    assert!(focused.as_str().unwrap().starts_with("blocks: "), "{focused}");
    browser.press("Enter");
    assert_eq!(browser.value("document.querySelector('#flame-reset').hidden"), false);
    assert_eq!(browser.value("document.activeElement.ariaLabel"), focused, "it keeps the focus");
    browser.press("Escape");
    assert_eq!(browser.value("document.querySelector('#flame-reset').hidden"), true);
}
