//! The text of documents, compared with the files of `cli/tests/golden`. If the
//! environment variable `LOOPSCOPE_BLESS` is set, the files are written.

use std::fs;
use std::path::Path;

use loopscope::attach::PsDocument;
use serde_json::{Value, json};

use super::{View, text};

fn plain(columns: usize) -> View {
    View { columns, has_color: false, is_tree: false, lists_all: false }
}

fn document(value: Value) -> PsDocument {
    serde_json::from_value(value).expect("a document")
}

/// Compares `actual` with the file of this name.
#[track_caller]
fn assert_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("LOOPSCOPE_BLESS").is_some() {
        fs::write(&path, actual).expect("the file can be written");
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        actual, expected,
        "{name} is outdated: run the tests once with LOOPSCOPE_BLESS=1, then read the difference"
    );
}

fn task(id: u64, kind: &str, state: &str, chain: Value, leaf: Value) -> Value {
    json!({
        "address": 0x1000 * id, "id": id, "kind": kind, "runtime": 0x7000, "is_blocking": false, "state": state,
        "references": 3, "wakers": 1, "has_join_handle": true, "spawned_at": null, "chain": chain, "leaf": leaf,
        "chain_missing": null,
    })
}

fn step(function: &str, file: &str, line: u32) -> Value {
    json!({"function": function, "file": file, "line": line})
}

fn frame(function: &str, file: &str, line: u32) -> Value {
    json!({"function": function, "file": file, "line": line, "kind": "application"})
}

fn thread(tid: i32, role: &str, state: &str) -> Value {
    json!({
        "tid": tid, "name": "tokio-rt-worker", "role": role, "state": state, "call": null, "object": null,
        "cause": null, "task": null, "seconds": null, "site": null, "stack": [], "evidence": "stack",
    })
}

fn with(mut value: Value, changes: Value) -> Value {
    for (name, change) in changes.as_object().expect("an object") {
        value[name] = change.clone();
    }
    value
}

/// Several futures, of which the last waits for as many again.
fn several(depth: usize) -> Value {
    let inner = if depth == 0 { json!({"kind": "sleep", "seconds_left": 1.5}) } else { several(depth - 1) };
    json!({
        "kind": "several", "of": "select!", "count": 2,
        "branches": [
            {
                "chain": [step("server::read", "src/read.rs", 7)],
                "leaf": {"kind": "io", "fd": 5, "object": null}, "chain_missing": null,
            },
            {"chain": [], "leaf": inner, "chain_missing": "the future is not known"},
        ],
    })
}

/// A server without anything that is wrong.
fn healthy() -> Value {
    let accept = json!([step("server::accept", "src/server.rs", 40)]);
    let hub = json!([step("server::hub::run", "src/hub.rs", 12)]);
    let mut tasks = vec![
        task(
            1,
            "server::accept",
            "idle",
            accept,
            json!({"kind": "io", "fd": 9, "object": "tcp listener 0.0.0.0:80"}),
        ),
        task(
            2,
            "server::hub::run",
            "idle",
            hub,
            json!({"kind": "channel", "of": "tokio::sync::mpsc", "address": 0x9000}),
        ),
    ];
    for id in 3..=12 {
        let chain = json!([
            step("server::session", "src/session.rs", 21),
            step("server::session::read_line", "src/session.rs", 88),
            step("tokio::io::util::read_line::ReadLine", "tokio-1.54.1/src/io/util/read_line.rs", 30),
        ]);
        let object = format!("tcp to 10.0.0.{id}:5000");
        tasks.push(task(
            id,
            "server::session",
            "idle",
            chain,
            json!({"kind": "io", "fd": id + 20, "object": object}),
        ));
    }
    json!({
        "schema": "loopscope.ps/1", "pid": 4711, "program": "/usr/bin/server", "at": 1_795_000_000.5,
        "runtimes": [{"handle": 0x7000, "kind": "multi_thread", "workers": 4, "tasks": 12}],
        "threads": [
            thread(4712, "worker", "parked"), thread(4713, "worker", "parked"), thread(4714, "worker", "parked"),
            thread(4715, "worker", "driving_io"), thread(4716, "blocking", "parked"), thread(4711, "block_on", "parked"),
            thread(4720, "other", "waiting"),
        ],
        "tasks": tasks,
        "verdicts": [],
        "coverage": {
            "seconds": 0.0404, "cpu_seconds": 0.0123, "scanned_bytes": 2_000_000, "skipped_bytes": 0,
            "candidates": 12, "consistent": 12, "torn": 0, "notes": [],
        },
    })
}

/// A server with 5,000 tasks of which many wait for one lock.
fn crowded() -> Value {
    let mut tasks = Vec::new();
    for id in 1..=5_000_u64 {
        let send = json!([
            step("server::session", "src/session.rs", 21),
            step("server::session::send", "src/session.rs", 88),
            step("tokio::sync::mutex::Mutex::lock", "tokio-1.54.1/src/sync/mutex.rs", 455),
            step("tokio::sync::batch_semaphore::Acquire", "tokio-1.54.1/src/sync/batch_semaphore.rs", 658),
        ]);
        let semaphore = json!({
            "kind": "semaphore", "address": 0x7f00_1234_5678_u64, "of": "tokio::sync::mutex::Mutex",
            "is_granted": false,
        });
        let tick = json!([step(
            "server::timer::very_long_module_name::refresh_the_cache",
            "src/timer/very_long_file_name.rs",
            14
        ),]);
        let sleep = json!({"kind": "sleep", "seconds_left": 0.25 + id as f64 / 1_000.0});
        tasks.push(match id {
            1..=4_800 => {
                let state = if id % 400 == 0 { "notified" } else { "idle" };
                with(
                    task(id, "server::session", state, send, semaphore),
                    json!({"spawned_at": "src/main.rs:20:9"}),
                )
            }
            4_801..=4_980 => {
                task(id, "server::timer::very_long_module_name::refresh_the_cache", "idle", tick, sleep)
            }
            4_981 => task(id, "server::worker", "running", json!([]), json!(null)),
            4_982 => with(
                task(
                    id,
                    "server::forgetful",
                    "idle",
                    json!([step("server::forgetful", "src/forget.rs", 12)]),
                    json!({"kind": "other", "of": "server::Forgets"}),
                ),
                json!({"wakers": 0, "references": 1, "has_join_handle": false}),
            ),
            4_983..=4_985 => with(
                task(id, "fsync_job", "running", json!([]), json!(null)),
                json!({"is_blocking": true, "runtime": null}),
            ),
            _ => with(
                task(id, &format!("server::job_{}", id % 13), "idle", json!([]), json!(null)),
                json!({"chain_missing": "the program has no full debug information"}),
            ),
        });
    }
    let blocked = with(
        thread(4712, "worker", "blocked"),
        json!({
            "call": "clock_nanosleep", "cause": "sleep", "task": 4_981 * 0x1000, "seconds": 1.2345,
            "advice": "use `tokio::time::sleep(..).await`",
            "site": frame("server::throttle::wait", "src/throttle.rs", 71),
        }),
    );
    let polling = with(
        thread(4713, "worker", "polling"),
        json!({"site": frame("server::parse::lines", "src/parse.rs", 7)}),
    );
    let syncing = |tid| {
        with(
            thread(tid, "blocking", "waiting"),
            json!({
                "call": "fdatasync", "object": "/var/lib/server/log", "cause": "file",
                "site": frame("server::log::flush", "src/log.rs", 9),
            }),
        )
    };
    with(
        healthy(),
        json!({
            "tasks": tasks,
            "runtimes": [{"handle": 0x7000, "kind": "multi_thread", "workers": 4, "tasks": 4_997}],
            "threads": [
                blocked, polling, thread(4714, "worker", "parked"), thread(4715, "worker", "driving_io"),
                thread(4716, "blocking", "parked"), syncing(4717), syncing(4718),
            ],
            "verdicts": [
                {
                    "kind": "lock_queue", "is_certain": false,
                    "reason": "4,800 tasks wait for one lock, and the task that holds it is not known",
                    "tasks": [0x1000, 0x2000, 0x3000, 0x4000, 0x5000], "threads": [],
                },
                {
                    "kind": "never_woken", "is_certain": true,
                    "reason": "task 4982 can never run again: it is idle, and no waker of it is alive",
                    "tasks": [4_982 * 0x1000], "threads": [],
                },
                {
                    "kind": "blocked_worker", "is_certain": true,
                    "reason": "a worker has not returned from a poll for at least 1.23 s",
                    "tasks": [4_981 * 0x1000], "threads": [4712],
                },
            ],
            "coverage": {
                "seconds": 0.251, "cpu_seconds": 0.0987, "scanned_bytes": 345_600_000_u64,
                "skipped_bytes": 1_200_000_000_u64, "candidates": 5_004, "consistent": 5_000, "torn": 3,
                "notes": ["full debug information (`debug = \"full\"` in the profile) would show where tasks wait"],
            },
        }),
    )
}

#[test]
fn a_healthy_server_fits_on_a_screen() {
    let text = text(&document(healthy()), &plain(100));
    assert!(text.lines().count() <= 24, "{text}");
    assert_golden("healthy-100.txt", &text);
}

#[test]
fn many_tasks_are_summed_up() {
    let document = document(crowded());
    for columns in [60, 100] {
        assert_golden(&format!("crowded-{columns}.txt"), &text(&document, &plain(columns)));
    }
    assert_golden("crowded-100-color.txt", &text(&document, &View { has_color: true, ..plain(100) }));
}

#[test]
fn chains_are_grouped() {
    let document = document(crowded());
    for columns in [60, 100] {
        let view = View { is_tree: true, ..plain(columns) };
        assert_golden(&format!("crowded-tree-{columns}.txt"), &text(&document, &view));
    }
}

#[test]
fn the_branches_of_several_futures_are_drawn() {
    let chain = json!([step("server::serve", "src/serve.rs", 3)]);
    let tasks =
        (1..3).map(|id| task(id, "server::serve", "idle", chain.clone(), several(1))).collect::<Vec<_>>();
    let document = document(with(healthy(), json!({"tasks": tasks})));
    assert_golden("branches-tree-100.txt", &text(&document, &View { is_tree: true, ..plain(100) }));
}

#[test]
fn the_future_of_a_block_on_is_shown() {
    let leaf =
        json!({"kind": "semaphore", "address": 0x40, "of": "tokio::sync::mutex::Mutex", "is_granted": false});
    let chain =
        json!([step("server::main", "src/main.rs", 12), step("server::\u{1b}[2Jsend", "src/main.rs", 20)]);
    let waiting = json!({
        "tid": 4711, "site": frame("server::main", "src/main.rs", 9), "kind": "server::main", "chain": chain,
        "leaf": leaf, "chain_missing": null,
    });
    let polled = json!({
        "tid": 4712, "site": null, "kind": "server::job", "chain": [], "leaf": null,
        "chain_missing": "it is being polled: the stack of the thread shows where it is",
    });
    let verdict = json!({
        "kind": "futurelock", "is_certain": false, "reason": "the future `server::main` waits", "tasks": [],
        "threads": [4711],
    });
    let changes = json!({
        "threads": [thread(4711, "block_on", "parked"), thread(4712, "block_on", "blocked")],
        "roots": [waiting, polled], "verdicts": [verdict], "tasks": [], "runtimes": [],
    });
    let document = document(with(healthy(), changes));
    assert_golden("roots-100.txt", &text(&document, &plain(100)));
    assert_golden("roots-tree-100.txt", &text(&document, &View { is_tree: true, ..plain(100) }));
}

#[test]
fn all_lists_each_task() {
    let document = document(healthy());
    let list = text(&document, &View { lists_all: true, ..plain(100) });
    assert_golden("healthy-all-100.txt", &list);
    let tree = text(&document, &View { lists_all: true, is_tree: true, ..plain(100) });
    for id in 1..=12 {
        assert!(list.lines().any(|line| line.trim_start().starts_with(&format!("{id}  idle"))), "{list}");
        assert!(tree.contains(&format!("task {id} `")), "{tree}");
    }
}

#[test]
fn without_names_a_kind_is_the_place_of_its_spawn() {
    let nameless = |id, spawned_at: Value| {
        with(task(id, "0x56333b867150", "idle", json!([]), json!(null)), json!({"spawned_at": spawned_at}))
    };
    let tasks = json!([nameless(1, json!("src/main.rs:20:9")), nameless(2, json!(null))]);
    let text = text(&document(with(healthy(), json!({"tasks": tasks}))), &plain(100));
    assert!(text.contains("1  spawned at src/main.rs:20:9\n"), "{text}");
    assert!(text.contains("2  0x56333b867150\n"), "{text}");
}

#[test]
fn the_workers_are_no_jobs_of_the_blocking_pool() {
    let job = |id, kind: &str| {
        with(task(id, kind, "running", json!([]), json!(null)), json!({"is_blocking": true, "runtime": null}))
    };
    let jobs = |tasks: Vec<Value>| {
        let text = text(&document(with(healthy(), json!({"tasks": tasks}))), &plain(100));
        text.lines().find(|line| line.starts_with("blocking pool")).expect("the pool").to_owned()
    };
    let worker = "tokio::runtime::scheduler::multi_thread::worker::launch::{closure_env#0}";
    assert_eq!(jobs((1..5).map(|id| job(id, worker)).collect()), "blocking pool  1: 1 idle");
    assert_eq!(jobs((1..5).map(|id| job(id, "0x1234")).collect()), "blocking pool  1: 1 idle");
    let mixed = (1..5).map(|id| job(id, worker)).chain([job(5, "app::hash"), job(6, "0x1234")]).collect();
    assert_eq!(jobs(mixed), "blocking pool  1: 1 idle; 2 jobs queued or running");
}

#[test]
fn the_documents_are_valid_by_the_schema() {
    let schema = include_str!("../../../schema/ps-1.schema.json");
    let schema: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is valid");
    let leaves = [
        json!({"kind": "sleep", "seconds_left": null}),
        json!({"kind": "semaphore", "address": 1, "of": null, "is_granted": null}),
        json!({"kind": "channel", "of": "tokio::sync::mpsc", "address": null}),
        json!({"kind": "join", "task": 1}),
        json!({"kind": "io", "fd": 3, "object": null}),
        json!({"kind": "notify", "address": null}),
        several(2),
        json!({"kind": "other", "of": "a::B"}),
    ];
    let tasks = leaves.into_iter().map(|leaf| task(1, "a", "complete", json!([]), leaf)).collect::<Vec<_>>();
    for value in [healthy(), crowded(), with(healthy(), json!({"tasks": tasks}))] {
        let value = serde_json::to_value(document(value)).expect("JSON");
        let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).take(5).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
    let mut value = healthy();
    value["more"] = json!(1);
    assert!(!validator.is_valid(&value), "the schema allows everything");
}

#[test]
fn an_empty_document_says_that_nothing_was_found() {
    let empty = with(
        healthy(),
        json!({
            "runtimes": [], "threads": [], "tasks": [],
            "coverage": {
                "seconds": 0.0, "cpu_seconds": 0.0, "scanned_bytes": 0, "skipped_bytes": 0, "candidates": 0,
                "consistent": 0, "torn": 0, "notes": ["no symbol of Tokio was found"],
            },
        }),
    );
    assert_golden("empty-100.txt", &text(&document(empty), &plain(100)));
}

#[test]
fn threads_of_a_runtime_without_tasks_are_said() {
    let head = |role: &str| {
        let mut value = with(healthy(), json!({"runtimes": [], "tasks": []}));
        value["threads"].as_array_mut().expect("threads").truncate(1);
        value["threads"][0]["role"] = json!(role);
        text(&document(value), &plain(100)).lines().next().unwrap_or_default().to_owned()
    };
    assert!(head("worker").ends_with(": 1 worker, and no task"), "{}", head("worker"));
    assert!(head("block_on").ends_with(": 1 thread in `block_on`, and no task"), "{}", head("block_on"));
    assert!(head("other").ends_with(": no runtime with tasks was found"), "{}", head("other"));
}

/// Every line is as wide as the view, or has one word that is not broken.
#[test]
fn lines_fit_into_the_width() {
    let (healthy, crowded) = (document(healthy()), document(crowded()));
    for columns in [super::MIN_COLUMNS, 60, 80, 100, 200] {
        for (document, is_tree, lists_all) in [
            (&healthy, false, false),
            (&crowded, false, false),
            (&crowded, true, false),
            (&healthy, false, true),
        ] {
            let view = View { is_tree, lists_all, ..plain(columns) };
            for line in text(document, &view).lines() {
                let is_one_word = !line.trim().contains(' ') || line.trim().starts_with(['-', '=']);
                let is_fit = loopscope::report::width(line) <= columns;
                assert!(is_fit || is_one_word || columns == super::MIN_COLUMNS, "{columns}: {line}");
            }
        }
    }
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    const EVIL: &str = "a\u{1b}[2J\u{7}\r\n\u{202e}b";
    let mut value = crowded();
    // The last tasks are of all kinds.
    value["tasks"].as_array_mut().expect("tasks").drain(..4_790);
    replace_strings(&mut value, EVIL);
    let document = document(value);
    for (is_tree, lists_all) in [(false, false), (true, false), (false, true), (true, true)] {
        let text = text(&document, &View { is_tree, lists_all, ..plain(100) });
        let is_printed = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
        assert!(text.chars().all(is_printed), "{text:?}");
    }
}

/// Replaces all texts that come from the process.
fn replace_strings(value: &mut Value, with: &str) {
    const OWN: [&str; 6] = ["schema", "kind_of", "role", "state", "cause", "evidence"];
    match value {
        Value::Object(fields) => {
            let is_tagged = fields.contains_key("handle")
                || fields.contains_key("is_certain")
                || fields.contains_key("seconds_left")
                || fields.contains_key("fd")
                || fields.contains_key("of")
                || fields.contains_key("recovered")
                || fields.get("kind") == Some(&json!("application"));
            for (name, value) in fields {
                let is_own = OWN.contains(&&**name) || is_tagged && name == "kind";
                if !is_own {
                    replace_strings(value, with);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| replace_strings(value, with)),
        Value::String(text) => *text = with.to_owned(),
        _ => {}
    }
}
