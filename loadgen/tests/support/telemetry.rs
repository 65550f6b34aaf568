//! A fake telemetry server. It has findings from the second request on.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Starts a server and returns its URL. Its first response to `/findings` is
/// empty, and later responses contain `findings`. It also serves `/tasks` and
/// `/stalls`.
pub(crate) fn start(findings: Vec<Value>) -> String {
    serve(vec![], findings, false)
}

/// Starts a server that is restarted after its first response to `/findings`,
/// with the same pid. Before and after, it has the same findings.
pub(crate) fn start_restarted(findings: Vec<Value>) -> String {
    serve(findings.clone(), findings, true)
}

fn serve(first_findings: Vec<Value>, findings: Vec<Value>, restarts: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        let mut findings_requests = 0;
        // The first scope started ten seconds before the first request.
        let mut scope_start = unix_ns() - 10_000_000_000;
        for mut stream in listener.incoming().flatten() {
            let mut request = String::new();
            let _ = BufReader::new(&stream).read_line(&mut request);
            let body = if request.starts_with("GET /findings ") {
                findings_requests += 1;
                if findings_requests == 1 {
                    scope_start = if restarts { unix_ns() } else { scope_start };
                    document(&first_findings, 0)
                } else {
                    document(&findings, 1)
                }
            } else if request.starts_with("GET /tasks ") {
                json!({"schema": "loopscope.tasks/1", "kinds": [{"name": "session", "poll": {"count": 100 * findings_requests.min(2)}}]})
            } else {
                json!({
                    "schema": "loopscope.stalls/1", "now_unix_ns": unix_ns(),
                    "scope_start_unix_ns": scope_start,
                    "stalls": [{"start_unix_ns": 1, "end_unix_ns": null, "worker": "0", "task": "t", "finding": null}],
                })
            };
            let body = body.to_string();
            // Sends two chunks, as a real server may do.
            let (one, two) = body.split_at(body.len() / 2);
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
            let (first, second) = (one.len(), two.len());
            let _ = write!(stream, "{head}{first:x}\r\n{one}\r\n{second:x}\r\n{two}\r\n0\r\n\r\n");
        }
    });
    url
}

/// Returns the current Unix time in nanoseconds.
pub(crate) fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_nanos()).expect("before 2554")
}

/// Returns a findings document with `dropped` dropped stalls, twice as many
/// suppressed reports and three times as many starved polls.
pub(crate) fn document(findings: &[Value], dropped: u64) -> Value {
    json!({
        "schema": "loopscope.findings/1",
        "process": {"pid": 1, "program": "fake", "loopscope": "0.1.0", "all_tasks": true},
        "threshold_seconds": 0.01,
        "findings": findings,
        "starved": {"count": 3 * dropped, "total_seconds": 0.1},
        "suppressed_reports": 2 * dropped,
        "dropped": dropped,
    })
}

/// Returns a finding with the cause `sleep`.
pub(crate) fn finding(id: &str, total_seconds: f64) -> Value {
    json!({
        "id": id, "cause": "sleep", "primitive": "std::thread::sleep",
        "site": {"function": "app::throttle", "file": "app/src/main.rs", "line": 7},
        "task": {"kind": "session", "spawned_at": "app/src/main.rs:3:9"},
        "count": 4, "total_seconds": total_seconds, "max_seconds": total_seconds / 2.0, "ongoing_seconds": null,
        "split": {"on_cpu_seconds": 0.0, "run_queue_seconds": 0.0, "off_cpu_seconds": total_seconds},
        "detail": {"syscall": "clock_nanosleep", "fd": null, "lock": null},
        "victims": {"tasks": 3, "delay_seconds": 0.4},
        "advice": "use `tokio::time::sleep(..).await`", "evidence": "stack",
        "stack": [{"function": "app::throttle", "file": "app/src/main.rs", "line": 7, "kind": "application"}],
        "first_seen_unix_seconds": 1.7e9, "last_seen_unix_seconds": 1.7e9,
    })
}
