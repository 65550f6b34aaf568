//! Reported percentiles against what the server knows to have done.

mod support;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::chat::{Conduct, Passed, Server};
use support::program::{Outcome, run};

/// A machine that is busy with other things delays the receiving: of this many
/// runs one must be true. What is wrong by design is so in all of them.
const RUNS: usize = 6;

/// What a receiver may be scheduled later than the server sent.
const SCHEDULING: f64 = 0.001;

const PERCENTILES: [(&str, f64); 6] =
    [("min", 0.0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

/// Seconds of `instant` since the measuring began.
fn since_start(outcome: &Outcome, instant: SystemTime) -> f64 {
    let unix = instant.duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    unix - outcome.number("/started_unix_seconds")
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

/// The latency of every delivery, in ascending order, from the time at which
/// the server says that it sent it.
fn sent_by_the_server(outcome: &Outcome, passed: &[Passed]) -> Vec<f64> {
    let latency = |passed: &Passed| since_start(outcome, passed.at) - seconds(passed.due_ns);
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

/// The percentiles that are not what they should be, within the precision of
/// the histogram and `slack`.
fn deviations(outcome: &Outcome, truth: &[f64], slack: f64) -> Vec<String> {
    let reported = |name: &str| outcome.number(&format!("/load/latency/{name}_seconds"));
    let deviates = |&(name, q): &(&str, f64)| {
        let (actual, expected) = (reported(name), quantile(truth, q));
        let bounds = expected * 0.999 - 0.000_2..=expected * 1.001 + slack;
        (!bounds.contains(&actual)).then(|| format!("{name} is {actual}, and should be {expected}"))
    };
    PERCENTILES.iter().filter_map(deviates).collect()
}

/// Runs against `conduct` until one run is as `wrong` wants it.
#[track_caller]
fn one_is_true(conduct: Conduct, flags: &[&str], wrong: impl Fn(&Outcome, &Server) -> Vec<String>) {
    let mut all = Vec::new();
    for _ in 0..RUNS {
        let server = Server::start(conduct);
        let outcome = run(server.address, flags);
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert_eq!(outcome.count("/load/deliveries/lost"), 0);
        let samples = server.tally(|tally| tally.deliveries);
        assert_eq!(outcome.count("/load/latency/samples"), samples);
        let wrong = wrong(&outcome, &server);
        if wrong.is_empty() {
            return;
        }
        all.push(wrong);
    }
    panic!("{all:#?}");
}

fn against_the_servers_clock(outcome: &Outcome, server: &Server) -> Vec<String> {
    let truth = server.tally(|tally| sent_by_the_server(outcome, &tally.passed));
    deviations(outcome, &truth, SCHEDULING)
}

#[test]
fn a_constant_delay_is_reported_as_it_is() {
    let conduct = Conduct { delay: Some(|_| Duration::from_millis(20)), ..Conduct::default() };
    one_is_true(conduct, &["--rate", "200"], |outcome, server| {
        let p50 = outcome.number("/load/latency/p50_seconds");
        assert!(p50 >= 0.02, "{p50} is less than what the server waited");
        against_the_servers_clock(outcome, server)
    });
}

#[test]
fn both_modes_of_a_bimodal_delay_are_reported() {
    let delay = |number: u64| Duration::from_millis(if number.is_multiple_of(5) { 80 } else { 5 });
    let conduct = Conduct { delay: Some(delay), ..Conduct::default() };
    one_is_true(conduct, &["--rate", "200", "--arrivals", "poisson"], |outcome, server| {
        let p90 = outcome.number("/load/latency/p90_seconds");
        assert!(p90 >= 0.08, "a fifth waited for 80 ms, and the p90 is {p90}");
        against_the_servers_clock(outcome, server)
    });
}

/// Messages come evenly over 2 s and the server freezes for 1 s. Each that was
/// due meanwhile waits for the end of it: that distribution can be computed
/// from the schedule and the server's clock alone. A generator that waits with
/// the server would see one slow message.
#[test]
fn a_frozen_server_cannot_hide() {
    let freeze = Some((Duration::from_millis(300), Duration::from_secs(1)));
    let conduct = Conduct { freeze, ..Conduct::default() };
    let flags = ["--rate", "200", "--duration", "2s", "--drain", "3s"];
    one_is_true(conduct, &flags, |outcome, server| {
        let (begin, end) = server.tally(|tally| tally.frozen).expect("it froze");
        let (begin, end) = (since_start(outcome, begin), since_start(outcome, end));
        let due = (0..400).map(|number| f64::from(number) / 200.0);
        // The message in whose handling it froze may have been due just before.
        let waits = due.map(|due| if due < end && due > begin - 0.004 { end - due } else { 0.0 });
        let computed = sorted(waits.flat_map(|wait| [wait; 4]).collect());
        let mut wrong = against_the_servers_clock(outcome, server);
        // Here also what the server takes to work off the backlog.
        wrong.extend(deviations(outcome, &computed, 0.02));
        let slow = computed.iter().filter(|&&wait| wait > 0.0).count();
        assert!((740..=880).contains(&slow), "half of 1,600 deliveries were due in the freeze, not {slow}");
        wrong
    });
}
