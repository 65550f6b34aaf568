//! All tasks and where they wait, on the page.

use std::future::pending;

use serde_json::json;

use crate::common::{eventually, runtime};
use crate::{SCRIPT, browser, exclusive, serve};

async fn waits_forever() {
    pending::<()>().await;
}

#[test]
fn tasks_are_read_on_demand_and_shown_in_groups_by_keyboard_alone() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 2);
    for _ in 0..3 {
        runtime.spawn(waits_forever());
    }
    browser.set_appearance(1200, 900, "light");
    browser.open(&format!("http://{address}/"));
    eventually("the first response", || (browser.text("#status") == "no stall now").then_some(()));
    let has_requested = |urls: Vec<String>| urls.iter().any(|url| url.ends_with("/tasks?tree"));
    assert!(!has_requested(browser.requested_urls()));

    browser.value("document.querySelector('#tree summary').focus()");
    browser.press("Enter");
    // The symbols of some builds do not have the names of futures. Workers of an
    // earlier test may still be ending: jobs of the blocking pool.
    let group = "[...document.querySelectorAll('#tree-groups > li')].find((group) => \
                 group.textContent.startsWith('3 ') && !group.textContent.includes('blocking pool'))";
    let text = eventually("the group", || {
        let text = browser.value(&format!("{group}?.textContent ?? ''"));
        text.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
    });
    assert!(has_requested(browser.requested_urls()));
    assert!(text.contains("idle"), "{text}");
    assert!(browser.text("#tree-text").contains("of CPU time"), "{}", browser.text("#tree-text"));
    let verdicts = browser.text("#tree-verdicts");
    assert!(
        verdicts.contains("never woken") && verdicts.contains("3 tasks can never run again"),
        "{verdicts}"
    );

    browser.value(&format!("{group}.querySelector('summary').focus()"));
    browser.press("Enter");
    let rows = format!("{group}.querySelectorAll('tbody tr').length");
    eventually("the tasks of the group", || (browser.value(&rows) == 3).then_some(()));
    // It stays open when the tasks are read again.
    browser.value("byId('tree-reload').focus()");
    browser.press("Enter");
    eventually("the second reading", || (browser.value("tree.isLoading") == false).then_some(()));
    eventually("the tasks of the group", || (browser.value(&rows) == 3).then_some(()));

    let kind = browser.value(&format!("{group}.querySelector('code').textContent"));
    browser.choose("#tree-filter", &kind.as_str().unwrap().to_uppercase());
    assert_eq!(browser.value("byId('tree-groups').childElementCount"), 1);
    browser.choose("#tree-filter", "no such task");
    assert_eq!(browser.value("byId('tree-groups').childElementCount"), 0);
    assert!(browser.text("#tree-text").starts_with("No group "), "{}", browser.text("#tree-text"));
}

#[test]
fn names_of_tasks_are_text_and_fit_on_a_narrow_screen() {
    let _guard = exclusive();
    let Some(mut browser) = browser() else { return };
    let (scope, address) = serve("127.0.0.1:0");
    let runtime = runtime(&scope, 1);
    runtime.spawn(waits_forever());
    browser.set_appearance(320, 800, "dark");
    browser.open(&format!("http://{address}/"));
    eventually("the first response", || (browser.text("#status") == "no stall now").then_some(()));
    browser.click("#tree summary");
    eventually("the groups", || (browser.value("byId('tree-groups').childElementCount") != 0).then_some(()));
    for name in [SCRIPT, &"x".repeat(3_000), "\u{202e}reversed", ""] {
        browser.value(&format!(
            "(() => {{ const name = {}; const read = structuredClone(tree.document); \
             const chain = [{{ function: name, file: name, line: 1 }}, {{ function: name, file: null, line: null }}]; \
             const branch = {{ chain, leaf: {{ kind: 'other', of: name }}, chain_missing: name }}; \
             const leaf = {{ kind: 'several', of: name, count: null, branches: [branch] }}; \
             for (const task of read.tasks) Object.assign(task, {{ kind: name, spawned_at: name, chain, leaf, chain_missing: name }}); \
             read.coverage.notes = [name]; \
             read.verdicts = [{{ kind: name, is_certain: true, reason: name, tasks: [read.tasks[0].address], threads: [read.threads[0].tid] }}]; \
             Object.assign(tree, {{ document: read, groups: groupTasks(read.tasks) }}); renderVerdicts(); renderTree(); \
             for (const group of document.querySelectorAll('#tree-groups details')) group.open = true; }})()",
            json!(name)
        ));
        eventually("the tasks of the group", || {
            (browser.value("document.querySelectorAll('#tree-groups tbody tr').length") != 0).then_some(())
        });
        assert!(browser.text("#tree-groups").contains(name) && browser.text("#tree-verdicts").contains(name));
        assert_eq!(browser.value("window.hacked ?? null"), json!(null));
        assert_eq!(browser.value("document.querySelectorAll('#tree script, #tree img').length"), 0);
        let width = browser.value("document.documentElement.scrollWidth");
        assert!(width.as_u64() <= Some(320), "{width}");
    }
    assert!(browser.console_messages().is_empty(), "{:?}", browser.console_messages());
}
