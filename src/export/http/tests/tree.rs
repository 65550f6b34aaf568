//! All tasks with what they await.

use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::attach::document::{PsDocument, ps_sample};
use crate::attach::error::AttachError;

#[test]
fn tasks_are_served_as_the_document_of_ps() {
    let (telemetry, source) = start_server();
    let response = get(&telemetry, "/tasks?tree");
    assert!(response.head.contains("\r\ncontent-type: application/json\r\n"), "{}", response.head);
    let document: PsDocument = serde_json::from_str(&response.body).unwrap();
    assert_eq!(document, ps_sample::document());
    assert_eq!(get(&telemetry, "/tasks?tree=true").body, response.body);
    assert_eq!(source.readings.load(Relaxed), 1, "a second request shortly after gets the same result");
    assert!(get(&telemetry, "/tasks?tree=false").body.contains("loopscope.tasks/1"));
    assert_eq!(source.readings.load(Relaxed), 1);
}

#[test]
fn a_result_is_kept_for_a_short_time_only() {
    let (telemetry, source) = start_server();
    get(&telemetry, "/tasks?tree");
    let deadline = Instant::now() + RESPONSE_TIMEOUT;
    while source.readings.load(Relaxed) < 2 {
        assert!(Instant::now() < deadline, "the tasks are not read again");
        thread::sleep(Duration::from_millis(100));
        get(&telemetry, "/tasks?tree");
    }
}

#[test]
fn tasks_that_cannot_be_read_are_said_in_one_sentence() {
    let (telemetry, source) = start_server();
    *source.tasks_tree.lock().unwrap() = Err(AttachError::Seccomp { pid: 7 });
    let failed = get(&telemetry, "/tasks?tree");
    assert_one_sentence(&failed, 503);
    assert!(failed.body.starts_with("The tasks cannot be read: process 7 "), "{}", failed.body);
    assert_eq!(get(&telemetry, "/tasks").status, 200);
    // An error is not kept.
    *source.tasks_tree.lock().unwrap() = Ok(ps_sample::document());
    assert_eq!(get(&telemetry, "/tasks?tree").status, 200);
    for query in ["tree=maybe", "trees", "tree&tree"] {
        assert_one_sentence(&get(&telemetry, &format!("/tasks?{query}")), 400);
    }
}
