//! The JSON document of `/polls`: how busy each worker was in a time range, as
//! far as the flight recorder knows, and the polls themselves if they are few.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::snapshot::{FlightPoll, RecordedPolls, WorkerPolls};
use crate::unix_time;

/// The schema name of [`PollsDocument`].
const SCHEMA: &str = "loopscope.polls/1";

/// The length of the range if the request has no `from`.
const DEFAULT_LENGTH: Duration = Duration::from_secs(60);
const DEFAULT_COLUMNS: NonZeroUsize = NonZeroUsize::new(200).unwrap();
/// The document lists the polls if they are at most this many.
const MAX_LISTED_POLLS: usize = 4_000;
/// The limit on the columns of all workers together.
const MAX_CELLS: usize = 200_000;

/// The range that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PollsRange {
    pub(crate) from: Option<SystemTime>,
    pub(crate) to: Option<SystemTime>,
    /// Into how many parts of equal length the range is divided.
    pub(crate) columns: Option<NonZeroUsize>,
}

impl PollsRange {
    /// Returns the start of the range.
    pub(crate) fn start(&self) -> SystemTime {
        let default = || self.to.unwrap_or_else(SystemTime::now).checked_sub(DEFAULT_LENGTH);
        self.from.or_else(default).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// What the flight recorder knows of a range.
#[derive(Debug, Serialize)]
pub(crate) struct PollsDocument {
    schema: &'static str,
    now_unix_ns: u64,
    scope_start_unix_ns: u64,
    /// The part of the range that is between the start of the scope and now.
    from_unix_ns: u64,
    to_unix_ns: u64,
    /// Shorter polls are not recorded.
    min_poll_seconds: f64,
    /// The names of the task kinds that the polls refer to.
    kinds: Vec<String>,
    workers: Vec<WorkerRow>,
}

#[derive(Debug, Serialize)]
struct WorkerRow {
    /// As in [`Stall::worker`](crate::Stall::worker).
    label: String,
    /// The time since which all polls are recorded.
    complete_since_unix_ns: u64,
    /// The share of each column that is in recorded polls.
    busy_shares: Vec<f64>,
    /// The polls of the range, or `null` if all workers together have too many.
    polls: Option<Vec<PollRow>>,
}

/// The start in nanoseconds since the start of the range (negative if the poll
/// began before), the length in nanoseconds (`null` if the poll is in
/// progress), and the index of the kind.
#[derive(Debug, Serialize)]
struct PollRow(i64, Option<u64>, usize);

impl PollsDocument {
    pub(crate) fn new(recorded: RecordedPolls, range: &PollsRange) -> Self {
        let RecordedPolls { scope_start, now_nanos, min_kept, kinds, workers } = recorded;
        let nanos_at = |time: SystemTime| {
            let nanos = time.duration_since(scope_start).unwrap_or_default().as_nanos();
            u64::try_from(nanos).map_or(now_nanos, |nanos| nanos.min(now_nanos))
        };
        let unix_nanos = |nanos| unix_time::to_nanos(scope_start + Duration::from_nanos(nanos));
        let end = range.to.map_or(now_nanos, nanos_at);
        let range_nanos = nanos_at(range.start()).min(end)..end;
        let mut by_label: BTreeMap<String, Vec<WorkerPolls>> = BTreeMap::new();
        for mut worker in workers {
            let is_in_range = |poll: &FlightPoll| {
                poll.start_nanos < range_nanos.end && end_of(poll, now_nanos) > range_nanos.start
            };
            worker.polls.retain(is_in_range);
            by_label.entry(worker.label.clone()).or_default().push(worker);
        }
        let is_listed =
            by_label.values().flatten().map(|worker| worker.polls.len()).sum::<usize>() <= MAX_LISTED_POLLS;
        let columns = range.columns.unwrap_or(DEFAULT_COLUMNS).get();
        let columns = columns.min(MAX_CELLS / by_label.len().max(1)).max(1);
        let row = |(label, threads): (String, Vec<WorkerPolls>)| {
            let polls: Vec<_> = threads.iter().flat_map(|worker| &worker.polls).collect();
            let times = polls.iter().map(|poll| poll.start_nanos..end_of(poll, now_nanos)).collect();
            let poll_row = |poll: &&FlightPoll| {
                let start = poll.start_nanos.cast_signed().wrapping_sub_unsigned(range_nanos.start);
                let length = poll.end_nanos.map(|end| end.saturating_sub(poll.start_nanos));
                PollRow(start, length, poll.kind)
            };
            WorkerRow {
                label,
                complete_since_unix_ns: unix_nanos(complete_since(&threads)),
                busy_shares: busy_shares(times, &range_nanos, columns),
                polls: is_listed.then(|| polls.iter().map(poll_row).collect()),
            }
        };
        Self {
            schema: SCHEMA,
            now_unix_ns: unix_nanos(now_nanos),
            scope_start_unix_ns: unix_nanos(0),
            from_unix_ns: unix_nanos(range_nanos.start),
            to_unix_ns: unix_nanos(range_nanos.end),
            min_poll_seconds: min_kept.as_secs_f64(),
            workers: by_label.into_iter().map(row).collect(),
            kinds: if is_listed { kinds } else { Vec::new() },
        }
    }
}

fn end_of(poll: &FlightPoll, now_nanos: u64) -> u64 {
    poll.end_nanos.unwrap_or(now_nanos)
}

/// Returns the time since which all polls of a worker are recorded. A thread
/// that has ended took its polls with it, so nothing is known of the time
/// before the first thread that is left.
fn complete_since(threads: &[WorkerPolls]) -> u64 {
    let registered = threads.iter().map(|worker| worker.recorded_since_nanos).min();
    let overwritten = threads.iter().filter_map(|worker| worker.overwritten_until_nanos).max();
    registered.max(overwritten).unwrap_or(0)
}

/// Returns the share of each column of a range that is in polls. The inside of
/// a poll that contains another one counts once.
fn busy_shares(mut polls: Vec<Range<u64>>, range: &Range<u64>, columns: usize) -> Vec<f64> {
    polls.sort_unstable_by_key(|poll| poll.start);
    let column_nanos = (range.end - range.start) as f64 / columns as f64;
    let mut shares = vec![0.0; columns];
    let mut counted_until = range.start;
    for poll in polls {
        let (start, end) = (poll.start.max(counted_until), poll.end.min(range.end));
        if start >= end {
            continue;
        }
        counted_until = end;
        let [start, end] = [start, end].map(|at| (at - range.start) as f64 / column_nanos);
        let touched = shares.iter_mut().enumerate().take(end.ceil() as usize).skip(start as usize);
        for (column, share) in touched {
            *share += (end.min(column as f64 + 1.0) - start.max(column as f64)).max(0.0);
        }
    }
    shares.into_iter().map(|share| (share.min(1.0) * 1e3).round() / 1e3).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn poll(start_nanos: u64, end: u64) -> FlightPoll {
        FlightPoll { tid: 7, kind: 1, start_nanos, end_nanos: Some(end) }
    }

    fn worker(label: &str, recorded_since_nanos: u64, polls: Vec<FlightPoll>) -> WorkerPolls {
        WorkerPolls { label: label.to_owned(), recorded_since_nanos, overwritten_until_nanos: None, polls }
    }

    /// The scope began 1,000 ns after the epoch, 1,000 ns ago.
    fn document(workers: Vec<WorkerPolls>, from: u64, to: u64, columns: usize) -> Value {
        let recorded = RecordedPolls {
            scope_start: unix_time::from_nanos(1_000),
            now_nanos: 1_000,
            min_kept: Duration::from_micros(50),
            kinds: vec!["other".to_owned(), "reader".to_owned()],
            workers,
        };
        let [from, to] = [from, to].map(|nanos| Some(unix_time::from_nanos(nanos)));
        let range = PollsRange { from, to, columns: NonZeroUsize::new(columns) };
        serde_json::to_value(PollsDocument::new(recorded, &range)).unwrap()
    }

    #[test]
    fn a_range_has_shares_and_polls() {
        let polls = vec![poll(50, 150), poll(250, 300), poll(450, 700)];
        let document = document(vec![worker("0", 20, polls)], 1_100, 1_500, 4);
        assert_eq!(
            document,
            json!({
                "schema": "loopscope.polls/1", "now_unix_ns": 2_000, "scope_start_unix_ns": 1_000,
                "from_unix_ns": 1_100, "to_unix_ns": 1_500, "min_poll_seconds": 5e-5, "kinds": ["other", "reader"],
                "workers": [{
                    "label": "0", "complete_since_unix_ns": 1_020, "busy_shares": [0.5, 0.5, 0.0, 0.5],
                    "polls": [[-50, 100, 1], [150, 50, 1], [350, 250, 1]],
                }],
            })
        );
    }

    #[test]
    fn a_range_is_cut_at_the_start_of_the_scope_and_at_the_present() {
        let in_progress = FlightPoll { end_nanos: None, ..poll(900, 0) };
        let document = document(vec![worker("0", 0, vec![in_progress])], 0, 9_000, 10);
        assert_eq!([&document["from_unix_ns"], &document["to_unix_ns"]], [1_000, 2_000]);
        assert_eq!(
            document["workers"][0]["busy_shares"],
            json!([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
        );
        assert_eq!(document["workers"][0]["polls"], json!([[900, null, 1]]));
        let nothing = super::tests::document(vec![worker("0", 0, vec![poll(1, 2)])], 5_000, 9_000, 2);
        assert_eq!(nothing["workers"][0]["busy_shares"], json!([0.0, 0.0]), "the range is in the future");
    }

    #[test]
    fn a_poll_inside_of_another_one_counts_once() {
        let polls = vec![poll(200, 400), poll(100, 500), poll(450, 600)];
        let document = document(vec![worker("0", 0, polls)], 1_000, 2_000, 1);
        assert_eq!(document["workers"][0]["busy_shares"], json!([0.5]));
    }

    #[test]
    fn the_threads_of_a_worker_are_one_row() {
        let old = WorkerPolls { overwritten_until_nanos: Some(70), ..worker("0", 10, vec![poll(100, 200)]) };
        let threads = vec![old, worker("0", 300, vec![poll(300, 400)]), worker("1", 500, Vec::new())];
        let document = document(threads, 1_000, 2_000, 1);
        let rows = document["workers"].as_array().unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0]["busy_shares"], json!([0.2]));
        assert_eq!(rows[0]["complete_since_unix_ns"], 1_070, "older polls are overwritten");
        assert_eq!(rows[1]["complete_since_unix_ns"], 1_500, "there was no such thread");
    }

    #[test]
    fn a_document_is_limited() {
        let many = |n: u64| (0..n).map(|n| poll(n % 900, n % 900 + 1)).collect();
        let listed = document(vec![worker("0", 0, many(4_000))], 0, 9_000, 10);
        assert_eq!(listed["workers"][0]["polls"].as_array().unwrap().len(), 4_000);
        let workers = (0..400).map(|n| worker(&n.to_string(), 0, many(11))).collect();
        let limited = document(workers, 0, 9_000, 100_000);
        assert_eq!(limited["workers"][0]["polls"], json!(null));
        assert_eq!(limited["kinds"], json!([]));
        assert_eq!(limited["workers"][0]["busy_shares"].as_array().unwrap().len(), 500);
    }
}
