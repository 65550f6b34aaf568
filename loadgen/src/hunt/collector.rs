//! Collects a server's stalls during the run, because the server itself keeps
//! only the latest ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use loopscope::Stall;
use tokio::sync::oneshot;

use super::telemetry::Telemetry;

/// Time between two requests. The server keeps 4096 stalls, so none is lost up
/// to 4096 stalls per second.
const COLLECT_INTERVAL: Duration = Duration::from_secs(1);

/// Each request asks for the stalls since the previous answer, and for this
/// time before it: the server may report a stall a little after its end.
const QUERY_OVERLAP: Duration = Duration::from_secs(2);

/// Maximum number of stalls that are kept; later ones are ignored.
const MAX_COLLECTED_STALLS: usize = 65_536;

/// Maximum number of findings that are counted during the run.
const MAX_COUNTED_FINDINGS: usize = 10_000;

/// The stalls that were collected so far.
///
/// An ended stall is known by the time from the start of the scope to its own,
/// and by its worker. The times of the wall clock differ a little between two
/// documents, because the server converts them with a new reading each time.
#[derive(Debug)]
pub(crate) struct CollectedStalls {
    ended: BTreeMap<(Duration, String), Stall>,
    ongoing: Vec<Stall>,
    /// The start of the scope in the latest answer.
    scope_start: SystemTime,
    begin: SystemTime,
    findings: BTreeSet<String>,
}

impl CollectedStalls {
    /// Returns an empty collection. It will ignore stalls that end before
    /// `begin`, a time of the server's clock.
    pub(crate) const fn since(begin: SystemTime) -> Self {
        let scope_start = SystemTime::UNIX_EPOCH;
        Self { ended: BTreeMap::new(), ongoing: Vec::new(), scope_start, begin, findings: BTreeSet::new() }
    }

    /// Adds the stalls of an answer, which may contain known ones again, and
    /// the start of the scope in the same answer.
    pub(crate) fn add(&mut self, stalls: Vec<Stall>, scope_start: Option<SystemTime>) {
        let scope_start = scope_start.unwrap_or(SystemTime::UNIX_EPOCH);
        self.scope_start = scope_start;
        self.ongoing.clear();
        for stall in stalls {
            let has_ended_before = stall.end.is_some_and(|end| end < self.begin);
            if let Some(finding) = stall.finding.as_ref().filter(|_| !has_ended_before)
                && self.findings.len() < MAX_COUNTED_FINDINGS
            {
                self.findings.insert(finding.clone());
            }
            match stall.end {
                None => self.ongoing.push(stall),
                Some(end) if end < self.begin => {}
                Some(_) => {
                    let since_start = stall.start.duration_since(scope_start).unwrap_or_default();
                    let key = (since_start, stall.worker.clone());
                    if self.ended.len() < MAX_COLLECTED_STALLS || self.ended.contains_key(&key) {
                        self.ended.insert(key, stall);
                    }
                }
            }
        }
    }

    /// Returns all stalls, sorted by start time. All times are by the latest
    /// answer's reading of the wall clock.
    pub(crate) fn into_all(self) -> Vec<Stall> {
        let scope_start = self.scope_start;
        let ended = self.ended.into_iter().map(|((since_start, _), mut stall)| {
            let duration = stall.end.and_then(|end| end.duration_since(stall.start).ok());
            stall.start = scope_start + since_start;
            stall.end = duration.map(|duration| stall.start + duration);
            stall
        });
        let mut stalls: Vec<_> = ended.chain(self.ongoing).collect();
        stalls.sort_by_key(|stall| stall.start);
        stalls
    }
}

/// The thread that requests the stalls. It is a separate one, so reading the
/// answers delays no client of the generator.
#[derive(Debug)]
pub(crate) struct Collector {
    stop: oneshot::Sender<()>,
    begin: SystemTime,
    finding_count: Arc<AtomicUsize>,
    thread: JoinHandle<CollectedStalls>,
}

impl Collector {
    /// Starts the thread.
    pub(crate) fn start(telemetry: Telemetry, begin: SystemTime) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let finding_count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&finding_count);
        let thread = thread::Builder::new().name("stalls".into()).spawn(move || {
            runtime.block_on(collect(telemetry, CollectedStalls::since(begin), &counter, stopped))
        })?;
        Ok(Self { stop, begin, finding_count, thread })
    }

    /// Returns how many findings the stalls so far belong to.
    pub(crate) fn finding_count(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.finding_count)
    }

    /// Stops the thread. Returns the stalls so far.
    pub(crate) async fn stop(self) -> CollectedStalls {
        let _ = self.stop.send(());
        let begin = self.begin;
        let joined = tokio::task::spawn_blocking(|| self.thread.join().ok()).await;
        joined.ok().flatten().unwrap_or_else(|| CollectedStalls::since(begin))
    }
}

/// Requests stalls until `stopped`. A request without an answer is repeated.
/// Lost stalls are detected later: the findings then count more stalls than
/// were collected.
async fn collect(
    telemetry: Telemetry,
    mut stalls: CollectedStalls,
    finding_count: &AtomicUsize,
    mut stopped: oneshot::Receiver<()>,
) -> CollectedStalls {
    let mut since = stalls.begin;
    loop {
        tokio::select! {
            () = tokio::time::sleep(COLLECT_INTERVAL) => {}
            _ = &mut stopped => return stalls,
        }
        tokio::select! {
            answer = telemetry.stalls(since) => if let Ok(answer) = answer {
                since = answer.now.checked_sub(QUERY_OVERLAP).unwrap_or(SystemTime::UNIX_EPOCH);
                stalls.add(answer.stalls, answer.scope_start);
                finding_count.store(stalls.findings.len(), Ordering::Relaxed);
            },
            _ = &mut stopped => return stalls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix_time;
    use serde_json::json;

    fn stall(start_unix_ns: u64, end_unix_ns: Option<u64>, worker: &str) -> Stall {
        serde_json::from_value(json!({
            "start_unix_ns": start_unix_ns, "end_unix_ns": end_unix_ns,
            "worker": worker, "task": "t", "finding": "f",
        }))
        .expect("a stall")
    }

    #[test]
    fn a_repeated_stall_is_kept_once_and_an_ongoing_one_is_replaced() {
        let mut stalls = CollectedStalls::since(unix_time::from_nanos(100));
        let first = vec![stall(10, Some(99), "0"), stall(90, Some(110), "0"), stall(120, None, "1")];
        stalls.add(first, Some(unix_time::from_nanos(5)));
        let second = vec![stall(90, Some(110), "0"), stall(90, Some(130), "1"), stall(120, Some(140), "1")];
        stalls.add(second, Some(unix_time::from_nanos(5)));
        stalls.add(vec![stall(150, None, "0")], Some(unix_time::from_nanos(5)));
        assert_eq!(stalls.findings.len(), 1);
        let all: Vec<_> = stalls
            .into_all()
            .into_iter()
            .map(|stall| (unix_time::to_nanos(stall.start), stall.end.map(unix_time::to_nanos)))
            .collect();
        assert_eq!(all, [(90, Some(110)), (90, Some(130)), (120, Some(140)), (150, None)]);
    }

    #[test]
    fn a_stall_is_kept_once_although_two_answers_give_its_time_differently() {
        let mut stalls = CollectedStalls::since(SystemTime::UNIX_EPOCH);
        for jitter in [0, 37, 12] {
            let scope_start = unix_time::from_nanos(1_000 + jitter);
            stalls.add(vec![stall(5_000 + jitter, Some(6_000 + jitter), "0")], Some(scope_start));
        }
        let all = stalls.into_all();
        assert_eq!((all.len(), all[0].start), (1, unix_time::from_nanos(5_012)));
        assert_eq!(all[0].end, Some(unix_time::from_nanos(6_012)));
    }

    #[test]
    fn the_number_of_stalls_is_bounded() {
        let mut stalls = CollectedStalls::since(SystemTime::UNIX_EPOCH);
        for start in 0..MAX_COLLECTED_STALLS as u64 + 10 {
            stalls.add(vec![stall(start, Some(start + 1), "0")], None);
        }
        assert_eq!(stalls.into_all().len(), MAX_COLLECTED_STALLS);
    }
}
