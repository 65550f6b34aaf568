//! A source with fixed data for tests. Nearly all values differ from each other,
//! so that a test fails if two of them are exchanged.

#[cfg(all(feature = "attach", stack_capture))]
use std::sync::atomic::AtomicUsize;
#[cfg(all(feature = "attach", stack_capture))]
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

#[cfg(all(feature = "attach", stack_capture))]
use crate::attach::document::{PsDocument, ps_sample};
#[cfg(all(feature = "attach", stack_capture))]
use crate::attach::error::AttachError;
use crate::export::source::{Health, Source};
use crate::finding::{Cause, Finding, FindingsDocument, STALLS_SCHEMA, Stall, StallsDocument};
use crate::recording::Recording;
use crate::report::sample;
use crate::snapshot::{
    BlockingCallSnapshot, CauseSnapshot, FlightPoll, FlightRecording, FlightStall, FlightThread,
    HistogramSnapshot, KindSnapshot, LoopLagSnapshot, ObserverSnapshot, PressureSnapshot, RecordedPolls,
    RuntimeSnapshot, Snapshot, WorkerPolls, WorkerSnapshot,
};
use crate::unix_time;

/// Tests may change the data while the source is in use.
#[derive(Debug)]
pub(crate) struct FakeSource {
    pub(crate) snapshot: Mutex<Snapshot>,
    pub(crate) findings: Mutex<FindingsDocument>,
    pub(crate) health: Mutex<Health>,
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) tasks_tree: Mutex<Result<PsDocument, AttachError>>,
    /// How often the tasks were read.
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) readings: AtomicUsize,
}

#[cfg_attr(not(feature = "prometheus"), allow(dead_code))]
impl FakeSource {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            snapshot: Mutex::new(snapshot()),
            findings: Mutex::new(sample::document(vec![sample::sleep()])),
            health: Mutex::new(Health::Ok),
            #[cfg(all(feature = "attach", stack_capture))]
            tasks_tree: Mutex::new(Ok(ps_sample::document())),
            #[cfg(all(feature = "attach", stack_capture))]
            readings: AtomicUsize::new(0),
        })
    }
}

impl Source for FakeSource {
    fn snapshot(&self) -> Snapshot {
        self.snapshot.lock().unwrap().clone()
    }

    fn findings(&self) -> FindingsDocument {
        self.findings.lock().unwrap().clone()
    }

    fn ended_findings(&self) -> Vec<Finding> {
        self.findings().findings
    }

    fn stalls(&self, since: Option<SystemTime>) -> StallsDocument {
        let mut stalls: Vec<_> = [1_000_000_000, 2_000_000_000].map(stall).into();
        stalls.retain(|stall| stall.end > since);
        StallsDocument {
            schema: STALLS_SCHEMA.to_owned(),
            now: unix_time::from_nanos(3_000_000_000),
            scope_start: Some(unix_time::from_nanos(500_000_000)),
            stalls,
        }
    }

    #[cfg(feature = "tokio-metrics")]
    fn runtimes(&self) -> Vec<(String, tokio::runtime::Handle)> {
        Vec::new()
    }

    /// The recorder's clock began at the epoch. The flight recorder has only
    /// the poll of the first stall.
    fn flight(&self, _: Duration) -> FlightRecording {
        let stall = |start_nanos, poll| {
            let Stall { worker, task, finding, .. } = stall(start_nanos);
            FlightStall {
                thread: FlightThread { tid: 4_243, label: worker },
                poll: (1, poll),
                polls: 1,
                task,
                finding: finding.unwrap(),
                start_nanos,
                end_nanos: Some(start_nanos + STALL_NANOS),
            }
        };
        let stalls = [stall(1_000_000_000, 1), stall(2_000_000_000, 3)];
        let [FlightStall { start_nanos, end_nanos, .. }, _] = stalls;
        FlightRecording {
            now: unix_time::from_nanos(3_000_000_000),
            now_nanos: 3_000_000_000,
            threads: vec![stalls[0].thread.clone()],
            kinds: vec!["other".to_owned(), stalls[0].task.clone()],
            polls: vec![FlightPoll { tid: 4_243, kind: 1, start_nanos, end_nanos }],
            stalls: stalls.into(),
        }
    }

    /// The scope began half a second after the epoch.
    fn recorded_polls(&self, _: SystemTime) -> RecordedPolls {
        let poll = |start_nanos, end_nanos| FlightPoll { tid: 4_243, kind: 1, start_nanos, end_nanos };
        RecordedPolls {
            scope_start: unix_time::from_nanos(500_000_000),
            now_nanos: 2_500_000_000,
            min_kept: Duration::from_micros(50),
            kinds: vec!["other".to_owned(), "session".to_owned()],
            workers: vec![WorkerPolls {
                label: "0".to_owned(),
                recorded_since_nanos: 1_000_000,
                overwritten_until_nanos: Some(500_000_000),
                polls: vec![poll(500_000_000, Some(1_000_000_000)), poll(2_250_000_000, None)],
            }],
        }
    }

    #[cfg(all(feature = "attach", stack_capture))]
    fn tasks_tree(&self, _: &[u64]) -> Result<PsDocument, AttachError> {
        self.readings.fetch_add(1, Relaxed);
        self.tasks_tree.lock().unwrap().clone()
    }

    fn health(&self) -> Health {
        *self.health.lock().unwrap()
    }
}

/// The length of each stall.
const STALL_NANOS: u64 = 500_000_000;

fn stall(start: u64) -> Stall {
    Stall {
        start: unix_time::from_nanos(start),
        end: Some(unix_time::from_nanos(start + STALL_NANOS)),
        worker: "0".to_owned(),
        task: "session".to_owned(),
        finding: Some("sleep-5f3a".to_owned()),
    }
}

/// Creates a distribution of `low` values of `low` milliseconds each, and one
/// value of `high` milliseconds.
pub(crate) fn distribution(low: u64, high: u64) -> HistogramSnapshot {
    HistogramSnapshot {
        buckets: vec![(Duration::from_millis(low), low), (Duration::from_millis(high), 1)],
        count: low + 1,
        sum: Duration::from_millis(low * low + high),
        max: Duration::from_millis(high),
    }
}

pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        threshold: Duration::from_millis(17),
        recording: Recording::Full,
        is_paused: false,
        has_recorded_in_full: true,
        kinds: vec![KindSnapshot {
            name: "session".to_owned(),
            poll_time: distribution(3, 211),
            schedule_delay: distribution(7, 401),
            spawned: 1_009,
            completed: 109,
            self_wakes: 113,
            lost_wakers: 127,
            never_yielded: 131,
            large_futures: 137,
            largest_future_bytes: 139,
        }],
        workers: vec![worker("0", 11, None), worker("main", 23, Some(Duration::from_millis(1_213)))],
        runtimes: vec![RuntimeSnapshot {
            workers: 5,
            global_queue_depth: 613,
            blocking_threads: Some(617),
            idle_blocking_threads: Some(619),
            blocking_queue_depth: Some(631),
            name: "api".to_owned(),
            alive_tasks: 641,
        }],
        blocking_calls: vec![BlockingCallSnapshot {
            name: "hash",
            queue_wait: distribution(9, 503),
            run_time: distribution(13, 509),
        }],
        loop_lag: vec![LoopLagSnapshot {
            name: "local",
            lag: distribution(5, 521),
            unanswered: Some(Duration::from_millis(523)),
        }],
        causes: Cause::ALL.iter().copied().zip(1..).map(cause).collect(),
        starved: Duration::from_millis(6_007),
        pressure: PressureSnapshot { some: Duration::from_millis(9_001), full: Duration::from_millis(9_007) },
        observer: ObserverSnapshot {
            watchdog_cpu: Duration::from_millis(7_001),
            captures: vec![("stack", 701), ("moved on", 709)],
            dropped: vec![("report budget", 719)],
            capture_signal: Some(64),
            signals_given_up: 2,
            replaced_hooks: vec!["on_task_spawn"],
        },
    }
}

fn worker(label: &str, seed: u64, active_poll: Option<Duration>) -> WorkerSnapshot {
    WorkerSnapshot {
        label: label.to_owned(),
        busy: Duration::from_secs(seed * 1_000 + 1),
        polls: seed * 1_000 + 2,
        parks: seed * 1_000 + 3,
        local_queue_depth: Some(usize::try_from(seed).unwrap() * 1_000 + 4),
        active_poll,
        active_poll_own: active_poll,
        runtime: "api".to_owned(),
    }
}

fn cause((cause, n): (Cause, u64)) -> CauseSnapshot {
    CauseSnapshot { cause, durations: distribution(20 + n, 3_000 + n) }
}
