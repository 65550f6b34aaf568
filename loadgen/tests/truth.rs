//! Reported percentiles agree with the server's own record of its deliveries.

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::chat::{Faults, PassedMessage, Server};
use support::program::{Outcome, run};

/// One of this number of runs must be correct: a busy machine delays the
/// receiver in some runs, but a wrong generator is wrong in all of them.
const MAX_RUNS: usize = 6;

/// Seconds by which a receiver may run later than the server sent.
const MAX_SCHEDULING_DELAY_SECONDS: f64 = 0.001;

const PERCENTILES: [(&str, f64); 6] =
    [("min", 0.0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

/// Returns the seconds from the start of the measurement to `instant`.
fn since_start(outcome: &Outcome, instant: SystemTime) -> f64 {
    let unix = instant.duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    unix - outcome.number("/started_unix_seconds")
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// Returns the latency of every delivery in ascending order, computed from the
/// times at which the server sent it.
fn latencies_by_server_clock(outcome: &Outcome, passed: &[PassedMessage]) -> Vec<f64> {
    let latency = |passed: &PassedMessage| since_start(outcome, passed.sent_at) - seconds(passed.due_ns);
    sorted(passed.iter().flat_map(|passed| vec![latency(passed); passed.receivers]).collect())
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn quantile(sorted: &[f64], quantile: f64) -> f64 {
    let rank = (quantile * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted[rank - 1]
}

/// Returns the percentiles that differ from `expected` by more than the
/// precision of the histogram and `slack` seconds.
fn deviations(outcome: &Outcome, expected: &[f64], slack: f64) -> Vec<String> {
    let reported = |name: &str| outcome.number(&format!("/load/latency/{name}_seconds"));
    let deviates = |&(name, q): &(&str, f64)| {
        let (actual, expected) = (reported(name), quantile(expected, q));
        let bounds = expected * 0.999 - 0.000_2..=expected * 1.001 + slack;
        (!bounds.contains(&actual)).then(|| format!("{name} is {actual} instead of {expected}"))
    };
    PERCENTILES.iter().filter_map(deviates).collect()
}

/// Repeats runs against a server with `faults` until `find_errors` finds none.
#[track_caller]
fn assert_one_run_is_correct(
    faults: Faults,
    flags: &[&str],
    find_errors: impl Fn(&Outcome, &Server) -> Vec<String>,
) {
    let mut errors_of_runs = Vec::new();
    for _ in 0..MAX_RUNS {
        let server = Server::start(faults);
        let outcome = run(server.address, flags);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_eq!(outcome.count("/load/deliveries/lost"), 0);
        let samples = server.counts(|counts| counts.deliveries);
        assert_eq!(outcome.count("/load/latency/samples"), samples);
        let errors = find_errors(&outcome, &server);
        if errors.is_empty() {
            return;
        }
        errors_of_runs.push(errors);
    }
    panic!("{errors_of_runs:#?}");
}

fn deviations_from_server_clock(outcome: &Outcome, server: &Server) -> Vec<String> {
    let expected = server.counts(|counts| latencies_by_server_clock(outcome, &counts.passed));
    deviations(outcome, &expected, MAX_SCHEDULING_DELAY_SECONDS)
}

#[test]
fn a_constant_delay_is_reported_exactly() {
    let faults = Faults { delay: Some(|_| Duration::from_millis(20)), ..Faults::default() };
    assert_one_run_is_correct(faults, &["--rate", "200"], |outcome, server| {
        let p50 = outcome.number("/load/latency/p50_seconds");
        assert!(p50 >= 0.02, "{p50} is less than the server's delay");
        deviations_from_server_clock(outcome, server)
    });
}

#[test]
fn both_modes_of_a_bimodal_delay_are_reported() {
    let delay = |number: u64| Duration::from_millis(if number.is_multiple_of(5) { 80 } else { 5 });
    let faults = Faults { delay: Some(delay), ..Faults::default() };
    assert_one_run_is_correct(faults, &["--rate", "200", "--arrivals", "poisson"], |outcome, server| {
        let p90 = outcome.number("/load/latency/p90_seconds");
        assert!(p90 >= 0.08, "a fifth of the deliveries took 80 ms, but the p90 is {p90}");
        deviations_from_server_clock(outcome, server)
    });
}

/// Messages are evenly spread over 2 s, and the server freezes for 1 s. Each
/// message that was due during the freeze waits for its end. The test computes
/// this distribution from the schedule and the server's clock alone. A generator
/// that waits together with the server would see only one slow message.
#[test]
fn a_freeze_delays_all_messages_that_were_due_during_it() {
    let freeze = Some((Duration::from_millis(300), Duration::from_secs(1)));
    let faults = Faults { freeze, ..Faults::default() };
    let flags = ["--rate", "200", "--duration", "2s", "--drain", "3s"];
    assert_one_run_is_correct(faults, &flags, |outcome, server| {
        let (begin, end) = server.counts(|counts| counts.frozen).expect("it froze");
        let (begin, end) = (since_start(outcome, begin), since_start(outcome, end));
        let due = (0..400).map(|number| f64::from(number) / 200.0);
        // The message during whose handling the server froze may have been due
        // shortly before the freeze.
        let waits = due.map(|due| if due < end && due > begin - 0.004 { end - due } else { 0.0 });
        let computed = sorted(waits.flat_map(|wait| [wait; 4]).collect());
        let mut errors = deviations_from_server_clock(outcome, server);
        // The slack includes the time that the server needs for the backlog.
        errors.extend(deviations(outcome, &computed, 0.02));
        let slow = computed.iter().filter(|&&wait| wait > 0.0).count();
        assert!((740..=880).contains(&slow), "half of 1,600 deliveries were due in the freeze, not {slow}");
        errors
    });
}
