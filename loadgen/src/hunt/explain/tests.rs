//! Deliveries and stalls whose overlap is calculated by hand.

use serde_json::json;

use super::super::clock::{Alignment, Exchange};
use super::*;

const MS: u64 = 1_000_000;

/// When the measurement begins, by the server's clock.
const BEGIN: u64 = 1_000_000 * MS;

fn findings(counts: &[(&str, u64)]) -> FindingsDocument {
    let finding = |&(id, count): &(&str, u64)| {
        json!({
            "id": id, "cause": "sleep", "primitive": null, "site": null,
            "task": {"kind": "session", "spawned_at": null},
            "count": count, "total_seconds": 1.0, "max_seconds": 1.0, "ongoing_seconds": null,
            "split": {"on_cpu_seconds": 0.0, "run_queue_seconds": 0.0, "off_cpu_seconds": 1.0},
            "detail": {"syscall": null, "fd": null, "lock": null},
            "victims": {"tasks": 0, "delay_seconds": 0.0},
            "advice": "", "evidence": "none", "stack": [],
            "first_seen_unix_seconds": 0.0, "last_seen_unix_seconds": 0.0,
        })
    };
    serde_json::from_value(json!({
        "schema": loopscope::FINDINGS_SCHEMA,
        "process": {"pid": 1, "program": "p", "loopscope": "0", "all_tasks": true},
        "threshold_seconds": 0.01,
        "findings": counts.iter().map(finding).collect::<Vec<_>>(),
        "starved": {"count": 0, "total_seconds": 0.0},
        "suppressed_reports": 0, "dropped": 0,
    }))
    .expect("a document")
}

/// Returns a stall. The times are milliseconds since the measurement began.
fn stall(finding: &str, start: i64, end: Option<i64>) -> Stall {
    let at = |ms: i64| BEGIN.saturating_add_signed(ms * MS as i64);
    serde_json::from_value(json!({
        "start_unix_ns": at(start), "end_unix_ns": end.map(at),
        "worker": "0", "task": "session", "finding": finding,
    }))
    .expect("a stall")
}

/// Returns deliveries that were due and arrived at the times `spans`, in
/// milliseconds. The measurement lasts 1000 ms.
fn slow(spans: &[(u64, u64)], weight: u64) -> (SlowWaits, Alignment) {
    let start = Instant::now();
    let exchange =
        Exchange { sent: start, server_unix_ns: BEGIN, scope_start_unix_ns: None, answered: start };
    let span = |&(due, arrived): &(u64, u64)| WaitSpan {
        due_ns: due * MS,
        sent_ns: due * MS,
        arrived_ns: arrived * MS,
    };
    let slow = SlowWaits {
        start,
        measured_ns: 1000 * MS,
        threshold_ns: 10 * MS,
        threshold: "p99".into(),
        count: spans.len() as u64 * weight,
        kept: spans.iter().map(span).collect(),
        weight,
    };
    (slow, Alignment::new(exchange, exchange))
}

#[track_caller]
fn assert_close(actual: f64, expected: f64) {
    assert!((actual - expected).abs() < 1e-9, "{actual} instead of {expected}");
}

#[test]
fn shares_are_those_calculated_by_hand() {
    let (slow, clock) = slow(&[(100, 200), (150, 200), (500, 600)], 1);
    let stalls = [stall("a", 110, Some(180)), stall("b", 160, Some(190)), stall("b", 800, Some(900))];
    let tail = explain(&slow, &stalls, &findings(&[("a", 1), ("b", 2)]), &clock);
    assert_close(tail.waited_seconds, 0.25);
    let [a, b] = &tail.findings[..] else { panic!("two findings: {tail:?}") };
    // (100, 200): a 50 + 20/2, b 20/2 + 10, 10 before, 10 after; (150, 200): a
    // 10 + 20/2, b 20/2 + 10, 10 after; (500, 600): nothing.
    assert_eq!((a.id.as_str(), b.id.as_str()), ("a", "b"), "the most harm first");
    assert_close(a.share, 80.0 / 250.0);
    assert_close(b.share, 40.0 / 250.0);
    assert_close(a.after_share, 0.0);
    assert_close(b.after_share, 20.0 / 250.0);
    assert_close(tail.explained_share, 120.0 / 250.0);
    assert_close(tail.after_share, 20.0 / 250.0);
    assert_close(tail.unexplained_share, 110.0 / 250.0);
    assert_close(a.share_by_chance, 0.06);
    assert_close(b.share_by_chance, 0.12);
    assert_eq!((a.deliveries, a.stalls, a.hurtful_stalls, a.missing_stalls), (2, 1, 1, 0));
    assert_eq!((b.deliveries, b.stalls, b.hurtful_stalls, b.missing_stalls), (2, 2, 1, 0));
}

#[test]
fn a_stall_in_which_no_slow_delivery_waited_is_harmless() {
    let (slow, clock) = slow(&[(100, 200), (400, 500)], 1);
    let stalls = [stall("a", 200, Some(400)), stall("a", -50, Some(-10)), stall("a", 2000, Some(2100))];
    let tail = explain(&slow, &stalls, &findings(&[("a", 5)]), &clock);
    let a = &tail.findings[0];
    assert_eq!((a.stalls, a.hurtful_stalls, a.deliveries), (1, 0, 0));
    assert_eq!(a.missing_stalls, 2, "five were counted, the times of three are known");
    assert_close(a.share, 0.0);
    assert_close(tail.unexplained_share, 1.0);
}

#[test]
fn each_kept_delivery_counts_with_its_weight() {
    let (slow, clock) = slow(&[(100, 200)], 4);
    let tail = explain(&slow, &[stall("a", 100, Some(200))], &findings(&[("a", 1)]), &clock);
    assert_eq!((tail.deliveries, tail.looked_at, tail.findings[0].deliveries), (4, 1, 4));
    assert_close(tail.waited_seconds, 0.4);
    assert_close(tail.explained_share, 1.0);
}

#[test]
fn an_ongoing_stall_counts_up_to_now_and_stalls_without_a_finding_are_ignored() {
    let (slow, clock) = slow(&[(0, 100)], 1);
    let mut unnamed = stall("a", 50, Some(100));
    unnamed.finding = None;
    // The measurement has only just begun, so the ongoing stall explains
    // little.
    let lasting = stall("a", -1000, None);
    let tail = explain(&slow, &[lasting, unnamed], &findings(&[("a", 1)]), &clock);
    assert!(tail.explained_share < 1.0, "{tail:?}");
    assert_close(tail.explained_share + tail.after_share + tail.unexplained_share, 1.0);
}

#[test]
fn the_generators_own_lateness_has_its_own_share() {
    let (mut slow, clock) = slow(&[(100, 200)], 1);
    slow.kept[0].sent_ns = 140 * MS;
    let tail = explain(&slow, &[stall("a", 110, Some(190))], &findings(&[("a", 1)]), &clock);
    assert_close(tail.generator_share, 0.4);
    assert_close(tail.explained_share, 0.5);
    assert_close(tail.after_share, 0.1);
    assert_close(tail.unexplained_share, 0.0);
    // A stall that ended before the message was sent is harmless.
    let tail = explain(&slow, &[stall("a", 110, Some(139))], &findings(&[("a", 1)]), &clock);
    assert_eq!((tail.findings[0].hurtful_stalls, tail.findings[0].deliveries), (0, 0));
}

#[test]
fn without_slow_deliveries_there_are_no_shares() {
    let (slow, clock) = slow(&[], 1);
    let tail = explain(&slow, &[stall("a", 0, Some(100))], &findings(&[("a", 1)]), &clock);
    assert_close(tail.explained_share + tail.after_share + tail.unexplained_share, 0.0);
    assert_eq!((tail.findings[0].stalls, tail.findings[0].hurtful_stalls), (1, 0));
}
