//! `--hlog` writes a log that agrees with the report. Other programs can read
//! it.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use support::chat::{DeliveryOutcome, Faults, Server};
use support::program::{Outcome, loadgen, run};

/// Runs the generator for several intervals, with some lost deliveries. Returns
/// its outcome and the path of the log.
fn run_with_log(name: &str) -> (Outcome, PathBuf) {
    let server = Server::start(Faults {
        delivery: |number, _| {
            if number.is_multiple_of(50) { DeliveryOutcome::Dropped } else { DeliveryOutcome::Passed }
        },
        ..Faults::default()
    });
    let path = std::env::temp_dir().join(format!("loadgen-{name}-{}.hlog", std::process::id()));
    let outcome = run(server.address, &["--duration", "2500ms", "--hlog", path.to_str().expect("text")]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    (outcome, path)
}

/// Returns the sum of all intervals of `tag`, and their number.
fn sum(path: &Path, tag: &str) -> (Histogram<u64>, usize) {
    let bytes = std::fs::read(path).expect("the log");
    let (mut sum, mut intervals) = (Histogram::new(3).expect("a histogram"), 0);
    for entry in IntervalLogIterator::new(&bytes) {
        let LogEntry::Interval(interval) = entry.expect("an entry") else { continue };
        if interval.tag().is_some_and(|own| own.as_str() == tag) {
            let decoded = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram(),
            );
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut &decoded.expect("base64")[..]).expect("a histogram");
            sum.add(histogram).expect("the sum resizes automatically");
            intervals += 1;
        }
    }
    (sum, intervals)
}

#[test]
fn the_sum_of_the_intervals_agrees_with_the_report() {
    let (outcome, path) = run_with_log("sum");
    let (latency, intervals) = sum(&path, "latency");
    assert!(intervals >= 3, "two intervals of a second and a shorter one: {intervals}");
    assert_eq!(latency.len(), outcome.count("/load/latency/samples"), "the log includes lost deliveries");
    let max = std::time::Duration::from_nanos(latency.max()).as_secs_f64();
    let reported = outcome.number("/load/latency/max_seconds");
    assert!((max / reported - 1.0).abs() < 0.002, "{max} {reported}");
    assert_eq!(sum(&path, "service").0.len(), outcome.count("/load/deliveries/delivered"));
    std::fs::remove_file(path).expect("it was there");
}

/// Needs `pip install hdrhistogram` for `python3`, or for the interpreter that
/// `LOADGEN_TEST_PYTHON` names.
#[test]
fn the_python_package_hdrhistogram_reads_the_log() {
    let python = std::env::var("LOADGEN_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = Command::new(&python).args(["-c", "import hdrh.log"]).output();
    if !import.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: {python} has no `hdrhistogram` (pip install hdrhistogram)");
        return;
    }
    let (outcome, path) = run_with_log("python");
    let script = "
import sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
total = HdrHistogram(1, 3_600_000_000_000, 3)
reader = HistogramLogReader(sys.argv[1], total)
while True:
    interval = reader.get_next_interval_histogram()
    if interval is None:
        break
    if interval.get_tag() == 'latency':
        total.add(interval)
print(total.get_total_count(), total.get_value_at_percentile(99))
";
    let output = Command::new(&python).arg("-c").arg(script).arg(&path).output().expect("python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().expect("a number"));
    let (count, p99) = (numbers.next().expect("a count"), numbers.next().expect("a percentile"));
    assert_eq!(count as u64, outcome.count("/load/latency/samples"));
    let reported = outcome.number("/load/latency/p99_seconds");
    assert!((p99 / 1e9 / reported - 1.0).abs() < 0.002, "{p99} {reported}");
    std::fs::remove_file(path).expect("it was there");
}

#[test]
fn an_unwritable_log_is_reported_in_one_sentence() {
    let server = Server::start(Faults::default());
    let outcome = run(server.address, &["--hlog", "/nowhere/at/all.hlog"]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(
        outcome.reasons().contains("--hlog /nowhere/at/all.hlog cannot be written"),
        "{}",
        outcome.reasons()
    );
    assert_eq!(loadgen(&["run", "--hlog"]).code, 2);
}
