//! The page on a phone, at a zoom of 200 %, and by the rules of axe.

use std::thread;

use loopscope::Named;

use crate::common::{self, STALL, eventually, runtime};
use crate::{browser, exclusive, serve};

/// The name of a kind that has no name of its own is a long path.
const LONG_NAME: &str = "crates/some-server/src/connection/session/reader.rs:1234:56";

#[test]
fn a_phone_and_a_zoom_of_200_percent_show_readable_names() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 2);
    let stall = async { thread::sleep(STALL) };
    runtime.block_on(runtime.spawn(stall.named(LONG_NAME))).unwrap();
    for width in [320, 390, 640] {
        browser.set_appearance(width, 844, "light");
        browser.open(&format!("http://{address}/"));
        eventually("the kind", || (browser.text("#kinds th") == LONG_NAME).then_some(()));
        eventually("the card", || (!browser.text(".card .site").is_empty()).then_some(()));
        let size = browser.value("(({ width, height }) => [width, height])(document.querySelector('#kinds th').getBoundingClientRect())");
        assert!(size[0].as_f64() >= Some(150.0) && size[1].as_f64() <= Some(90.0), "{width}: {size}");
        let scrolled = browser.value("document.documentElement.scrollWidth");
        assert!(scrolled.as_u64() <= Some(u64::from(width)), "{width}: the page is {scrolled} wide");
    }
}

#[test]
fn the_tiles_are_a_valid_list_and_the_headers_are_over_their_numbers() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 1);
    runtime.block_on(runtime.spawn(async {}.named("task"))).unwrap();
    browser.set_appearance(1300, 900, "light");
    browser.open(&format!("http://{address}/"));
    eventually("the kind", || (browser.text("#kinds th") == "task").then_some(()));
    let invalid = "[...document.querySelectorAll('dl > *')].filter((group) => group.tagName !== 'DIV' || \
                   [...group.children].some(({ tagName }) => !['DT', 'DD'].includes(tagName))).length";
    assert_eq!(browser.value(invalid), 0);
    // The number, not the curve beside it, is under the header.
    let distance = "(() => { const right = (selector) => document.querySelector(selector).getBoundingClientRect().right; \
                    return right('th[data-key=poll] button') - right('#kinds td:nth-of-type(4) span'); })()";
    assert!(browser.value(distance).as_f64().unwrap().abs() < 2.0, "{}", browser.value(distance));
}

/// `LOOPSCOPE_AXE` is the path of `axe.min.js` from the npm package axe-core.
#[test]
fn axe_finds_no_violation() {
    let Some(path) = std::env::var_os("LOOPSCOPE_AXE") else {
        return common::not_checked(
            "the page by the rules of axe, because LOOPSCOPE_AXE is not set (npm install axe-core)",
        );
    };
    let script = std::fs::read_to_string(path).unwrap();
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 12);
    let stall = async { thread::sleep(STALL) };
    runtime.block_on(runtime.spawn(stall.named(LONG_NAME))).unwrap();
    for (width, scheme) in [(1200, "light"), (1200, "dark"), (390, "light")] {
        browser.set_appearance(width, 900, scheme);
        browser.open(&format!("http://{address}/"));
        eventually("the card", || (!browser.text(".card .site").is_empty()).then_some(()));
        browser.value("selectNeighbour(-1)");
        browser.value("document.querySelectorAll('details').forEach((details) => (details.open = true))");
        eventually("the flame graph", || (browser.text("#flame-tree .frame") == "all").then_some(()));
        eventually("the stack", || (!browser.text("#stall-stack").is_empty()).then_some(()));
        eventually("the tasks", || (!browser.text("#tree-groups").is_empty()).then_some(()));
        browser.value(
            "document.querySelectorAll('#tree-groups details').forEach((details) => (details.open = true))",
        );
        browser.value(&script);
        let found = browser.value(
            "axe.run().then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`))",
        );
        assert_eq!(found, serde_json::json!([]), "{width} {scheme}");
    }
}
