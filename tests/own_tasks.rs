//! The tasks of this process, read from within. The reading sees the whole
//! process, so this file has one test.
#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod common;
#[path = "common/http.rs"]
mod http;

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use http::get;
use loopscope::attach::{PsDocument, PsTaskState, ps_own};
use loopscope::{Scope, Terminal};
use tokio::task::{spawn_blocking, yield_now};

const TASKS: usize = 300;
const JOBS: usize = 4;
const WORKERS: usize = 2;

async fn waits_forever() {
    pending::<()>().await;
}

/// Creates and ends tasks and jobs.
async fn churns() {
    loop {
        let task = tokio::spawn(yield_now());
        spawn_blocking(|| ()).await.expect("it does not panic");
        task.await.expect("it does not panic");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Returns the ids of the tasks, or of the jobs, among `expected`. Fails if one
/// occurs twice.
fn ids(document: &PsDocument, is_blocking: bool, expected: &BTreeSet<u64>) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for task in document.tasks.iter().filter(|task| task.is_blocking == is_blocking) {
        let id = task.id.expect("Tokio has ids");
        if expected.contains(&id) {
            assert!(found.insert(id), "{id} occurs twice");
        }
    }
    found
}

#[test]
fn every_task_of_this_process_is_found_once_and_copies_of_them_are_not_taken_for_tasks() {
    let address = "127.0.0.1:0".parse().unwrap();
    let scope = Scope::builder().terminal(Terminal::Never).telemetry(address).start().unwrap();
    let address = scope.telemetry_address().unwrap();
    let runtime = common::runtime(&scope, WORKERS);
    let id = |id: tokio::task::Id| id.to_string().parse::<u64>().unwrap();
    let tasks: BTreeSet<_> = (0..TASKS).map(|_| id(runtime.spawn(waits_forever()).id())).collect();
    let (end, ended) = mpsc::channel::<()>();
    let ended = Arc::new(Mutex::new(ended));
    let jobs = (0..JOBS).map(|_| {
        let ended = Arc::clone(&ended);
        id(runtime.spawn_blocking(move || ended.lock().unwrap().recv()).id())
    });
    let jobs: BTreeSet<_> = jobs.collect();
    let churning: Vec<_> = (0..4).map(|_| runtime.spawn(churns())).collect();

    for _ in 0..2 {
        let document = ps_own().unwrap();
        assert_eq!(ids(&document, false, &tasks), tasks);
        assert_eq!(ids(&document, true, &jobs), jobs);
    }

    for task in &churning {
        task.abort();
    }
    for task in churning {
        assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    }
    // The last task and the last job of each may still end. What the readings
    // before have copied must not be taken for tasks.
    let all = |document: &PsDocument, is_blocking| {
        document.tasks.iter().filter(|task| task.is_blocking == is_blocking).count()
    };
    let begin = Instant::now();
    let document = loop {
        let document = ps_own().unwrap();
        let counts = (all(&document, false), all(&document, true), document.coverage.torn);
        if counts == (TASKS, JOBS + WORKERS, 0) {
            break document;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{counts:?} {:?}", document.coverage);
    };
    assert_eq!(ids(&document, false, &tasks), tasks);
    let waiting = document.tasks.iter().find(|task| !task.is_blocking).unwrap();
    assert_eq!(waiting.state, PsTaskState::Idle);
    assert!(document.threads.iter().any(|thread| thread.name == "loopscope-watch"));

    // Those of the telemetry thread that serves them are left out.
    let (status, body) = get(address, "/tasks?tree");
    assert_eq!(status, 200, "{body}");
    let document: PsDocument = serde_json::from_str(&body).unwrap();
    assert_eq!(document.tasks.iter().filter(|task| !task.is_blocking).count(), TASKS);
    assert_eq!(ids(&document, false, &tasks), tasks);
    assert!(
        document.coverage.notes.iter().any(|note| note.contains("of loopscope itself")),
        "{:?}",
        document.coverage
    );
    drop(end);
}
