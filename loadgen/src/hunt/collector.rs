//! Collects a server's stalls during the run, because the server itself keeps
//! only the latest ones.

use std::collections::BTreeMap;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use loopscope::Stall;
use tokio::sync::oneshot;

use super::telemetry::Telemetry;

/// Time between two requests. The server keeps 4096 stalls, so none is lost up
/// to 4096 stalls per second.
const COLLECT_INTERVAL: Duration = Duration::from_secs(1);

/// How far each request goes back before the previous answer: the server may
/// report a stall a little after its end.
const QUERY_OVERLAP: Duration = Duration::from_secs(2);

/// The most stalls that are kept; later ones are left out.
const MAX_COLLECTED_STALLS: usize = 65_536;

/// The stalls from a begin on.
#[derive(Debug, Default)]
pub(crate) struct CollectedStalls {
    ended: BTreeMap<(u64, String), Stall>,
    ongoing: Vec<Stall>,
    begin_unix_ns: u64,
}

impl CollectedStalls {
    /// Returns an empty collection of the stalls that end after `begin_unix_ns`
    /// of the server's clock.
    pub(crate) fn since(begin_unix_ns: u64) -> Self {
        Self { begin_unix_ns, ..Self::default() }
    }

    /// Adds an answer, which may contain known stalls again.
    pub(crate) fn add(&mut self, stalls: Vec<Stall>) {
        self.ongoing.clear();
        for stall in stalls {
            match stall.end_unix_ns {
                None => self.ongoing.push(stall),
                Some(end) if end < self.begin_unix_ns => {}
                Some(_) => {
                    let key = (stall.start_unix_ns, stall.worker.clone());
                    if self.ended.len() < MAX_COLLECTED_STALLS || self.ended.contains_key(&key) {
                        self.ended.insert(key, stall);
                    }
                }
            }
        }
    }

    /// Returns all stalls, by their begin.
    pub(crate) fn into_all(self) -> Vec<Stall> {
        let mut stalls: Vec<_> = self.ended.into_values().chain(self.ongoing).collect();
        stalls.sort_by_key(|stall| stall.start_unix_ns);
        stalls
    }
}

/// The thread that requests the stalls. It is a separate one, so reading the
/// answers delays no client of the generator.
#[derive(Debug)]
pub(crate) struct Collector {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<CollectedStalls>,
}

impl Collector {
    /// Starts the thread.
    pub(crate) fn start(telemetry: Telemetry, begin_unix_ns: u64) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("stalls".into()).spawn(move || {
            runtime.block_on(collect(telemetry, CollectedStalls::since(begin_unix_ns), stopped))
        })?;
        Ok(Self { stop, thread })
    }

    /// Stops the thread. Returns the stalls so far.
    pub(crate) async fn stop(self) -> CollectedStalls {
        let _ = self.stop.send(());
        let joined = tokio::task::spawn_blocking(|| self.thread.join().unwrap_or_default()).await;
        joined.unwrap_or_default()
    }
}

/// Requests stalls until `stopped`. A request without an answer is repeated.
/// Whether stalls were lost shows later in a comparison with the counts of the
/// findings.
async fn collect(
    telemetry: Telemetry,
    mut stalls: CollectedStalls,
    mut stopped: oneshot::Receiver<()>,
) -> CollectedStalls {
    let mut since = stalls.begin_unix_ns;
    loop {
        tokio::select! {
            () = tokio::time::sleep(COLLECT_INTERVAL) => {}
            _ = &mut stopped => return stalls,
        }
        tokio::select! {
            answer = telemetry.stalls(system_time(since)) => if let Ok(answer) = answer {
                since = answer.now_unix_ns.saturating_sub(nanoseconds(QUERY_OVERLAP));
                stalls.add(answer.stalls);
            },
            _ = &mut stopped => return stalls,
        }
    }
}

/// Returns `unix_ns` as a system time.
pub(crate) fn system_time(unix_ns: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(unix_ns)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stall(start_unix_ns: u64, end_unix_ns: Option<u64>, worker: &str) -> Stall {
        Stall {
            start_unix_ns,
            end_unix_ns,
            worker: worker.into(),
            task: "t".into(),
            finding: Some("f".into()),
        }
    }

    #[test]
    fn a_repeated_stall_is_kept_once_and_an_ongoing_one_is_replaced() {
        let mut stalls = CollectedStalls::since(100);
        stalls.add(vec![stall(10, Some(99), "0"), stall(90, Some(110), "0"), stall(120, None, "1")]);
        stalls.add(vec![stall(90, Some(110), "0"), stall(90, Some(130), "1"), stall(120, Some(140), "1")]);
        stalls.add(vec![stall(150, None, "0")]);
        let all: Vec<_> =
            stalls.into_all().into_iter().map(|stall| (stall.start_unix_ns, stall.end_unix_ns)).collect();
        assert_eq!(all, [(90, Some(110)), (90, Some(130)), (120, Some(140)), (150, None)]);
    }

    #[test]
    fn the_number_of_stalls_is_bounded() {
        let mut stalls = CollectedStalls::since(0);
        for start in 0..MAX_COLLECTED_STALLS as u64 + 10 {
            stalls.add(vec![stall(start, Some(start + 1), "0")]);
        }
        assert_eq!(stalls.into_all().len(), MAX_COLLECTED_STALLS);
    }
}
