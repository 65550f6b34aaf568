//! Logins over time: how long connections take until they are ready.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::latency::histogram;
use super::slow::{SlowWaits, SlowestWaits, WaitSpan};
use super::timeline::Bins;
use crate::plan::nanoseconds;

/// How a login of a storm ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginOutcome {
    /// The connection is ready.
    Ready,
    /// The target refused it, or did not answer in time.
    Failed,
    /// The run ended before.
    Unfinished,
}

/// The logins of one bin of the run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LoginBin {
    /// Logins that were due in the bin.
    pub(crate) due: u64,
    /// The longest of them, in nanoseconds.
    pub(crate) longest_ns: u64,
}

/// The logins after the connections of a storm were dropped.
#[derive(Debug)]
pub(crate) struct StormRecord {
    /// Number of storms.
    pub(crate) storms: u64,
    /// Logins that were due. One that is not over when the next storm begins
    /// goes on; then it is due again once, for the newest storm.
    pub(crate) due: u64,
    /// Those of them that ended with a connection that is ready.
    pub(crate) ready: u64,
    /// Those of them that failed.
    pub(crate) failed: u64,
    /// Those of them that the end of the run interrupted.
    pub(crate) unfinished: u64,
    /// From the due time to the end of the login. A login that fails or is
    /// interrupted is a censored sample.
    pub(crate) latency: Histogram<u64>,
    /// From the due time to the begin of the connection.
    pub(crate) start_lag: Histogram<u64>,
    /// By bin of the run.
    pub(crate) timeline: Vec<LoginBin>,
}

/// Without an objective, a login is slow from this quantile on. Logins are few:
/// a run with a hundred of them has one above the p99. All may take equally
/// long, so those at the quantile count too.
const SLOW_QUANTILE: f64 = 0.9;
/// A login below this quantile cannot become one of the slowest tenth.
const BELOW_TAIL_QUANTILE: f64 = 0.5;

/// The logins that ended with a connection that is ready: of members, visitors
/// and storms, before the measurement too.
#[derive(Debug)]
struct ReadyLogins {
    latency: Histogram<u64>,
    slowest: SlowestWaits,
}

/// Records logins. They are rare, so one lock is enough.
#[derive(Debug)]
pub(crate) struct LoginRecorder {
    /// When the run began.
    origin: Instant,
    /// The text and the limit of the objective above which a login is slow.
    objective: Option<(String, Duration)>,
    bins: Bins,
    ready: Mutex<ReadyLogins>,
    first: Mutex<Histogram<u64>>,
    handshake: Mutex<Histogram<u64>>,
    storms: Mutex<StormRecord>,
}

impl LoginRecorder {
    /// Returns a recorder for a run with this duration and this tightest
    /// objective on logins.
    pub(crate) fn new(duration: Duration, objective: Option<(String, Duration)>) -> Self {
        let floor_ns = objective.as_ref().map_or(0, |(_, limit)| nanoseconds(*limit));
        let bins = Bins::new(duration);
        let storms = StormRecord {
            storms: 0,
            due: 0,
            ready: 0,
            failed: 0,
            unfinished: 0,
            latency: histogram(),
            start_lag: histogram(),
            timeline: vec![LoginBin::default(); bins.count()],
        };
        Self {
            origin: Instant::now(),
            objective,
            bins,
            ready: Mutex::new(ReadyLogins {
                latency: histogram(),
                slowest: SlowestWaits::with_floor(floor_ns),
            }),
            first: Mutex::new(histogram()),
            handshake: Mutex::new(histogram()),
            storms: Mutex::new(storms),
        }
    }

    /// Records that a connection which was due at `due` and begun at `begun` is
    /// ready now. Does not tell whether it is the first one of its client.
    pub(crate) fn on_ready(&self, due: Instant, begun: Instant) {
        let since_origin = |at: Instant| nanoseconds(at.saturating_duration_since(self.origin));
        let (due_ns, arrived_ns) = (since_origin(due), since_origin(Instant::now()));
        let sent_ns = since_origin(begun).clamp(due_ns, arrived_ns.max(due_ns));
        let span = WaitSpan { due_ns, sent_ns, arrived_ns };
        let mut ready = lock(&self.ready);
        let ReadyLogins { latency, slowest } = &mut *ready;
        latency.saturating_record(span.nanoseconds().max(1));
        let has_objective = self.objective.is_some();
        slowest.offer(span, || if has_objective { 0 } else { just_below(latency, BELOW_TAIL_QUANTILE) });
    }

    /// Records a connection that is ready for the first time, as
    /// [`Self::on_ready`] does.
    pub(crate) fn on_first(&self, due: Instant, begun: Instant) {
        lock(&self.first).saturating_record(nanoseconds(due.elapsed()).max(1));
        self.on_ready(due, begun);
    }

    /// Records the duration of a TLS handshake.
    pub(crate) fn on_handshake(&self, duration: Duration) {
        lock(&self.handshake).saturating_record(nanoseconds(duration).max(1));
    }

    /// Records the beginning of a storm.
    pub(crate) fn on_storm(&self) {
        lock(&self.storms).storms += 1;
    }

    /// Records that a login of a storm begins, `lag` after it was due.
    pub(crate) fn on_storm_start(&self, lag: Duration) {
        let mut storms = lock(&self.storms);
        storms.due += 1;
        storms.start_lag.saturating_record(nanoseconds(lag).max(1));
    }

    /// Records the end of a login that was due at `due_ns` of the run.
    pub(crate) fn on_storm_end(&self, outcome: LoginOutcome, due_ns: u64, latency: Duration) {
        let latency_ns = nanoseconds(latency).max(1);
        let mut storms = lock(&self.storms);
        match outcome {
            LoginOutcome::Ready => storms.ready += 1,
            LoginOutcome::Failed => storms.failed += 1,
            LoginOutcome::Unfinished => storms.unfinished += 1,
        }
        storms.latency.saturating_record(latency_ns);
        let bin = &mut storms.timeline[self.bins.index(due_ns)];
        bin.due += 1;
        bin.longest_ns = bin.longest_ns.max(latency_ns);
    }

    /// Returns the times of the first logins.
    pub(crate) fn first(&self) -> Histogram<u64> {
        lock(&self.first).clone()
    }

    /// Returns the durations of all TLS handshakes.
    pub(crate) fn handshake(&self) -> Histogram<u64> {
        lock(&self.handshake).clone()
    }

    /// Returns the logins above an objective, or else from the p90 on; `None`
    /// if no connection was ready. The measured time ends at `end`.
    pub(crate) fn slow(&self, end: Instant) -> Option<SlowWaits> {
        let ready = lock(&self.ready);
        let latency = &ready.latency;
        if latency.is_empty() {
            return None;
        }
        let (threshold, threshold_ns) = match &self.objective {
            Some((objective, limit)) => (objective.clone(), nanoseconds(*limit)),
            None => ("p90".to_owned(), just_below(latency, SLOW_QUANTILE)),
        };
        Some(SlowWaits {
            start: self.origin,
            measured_ns: nanoseconds(end.saturating_duration_since(self.origin)),
            threshold_ns,
            threshold,
            count: latency.len() - latency.count_between(0, threshold_ns),
            kept: ready.slowest.longer_than(threshold_ns),
            weight: ready.slowest.weight(),
        })
    }

    /// Returns whether each login of a storm that has begun is over.
    pub(crate) fn are_storms_over(&self) -> bool {
        let storms = lock(&self.storms);
        storms.due == storms.ready + storms.failed + storms.unfinished
    }

    /// Returns what happened in the storms.
    pub(crate) fn storms(&self) -> MutexGuard<'_, StormRecord> {
        lock(&self.storms)
    }
}

/// Returns the largest value that is below all samples at a quantile.
fn just_below(latency: &Histogram<u64>, quantile: f64) -> u64 {
    latency.lowest_equivalent(latency.value_at_quantile(quantile)).saturating_sub(1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(1);

    fn before(now: Instant, ms: u64) -> Instant {
        now.checked_sub(Duration::from_millis(ms)).expect("the machine runs for longer")
    }

    /// Logins that were due 10, 20 … 1,000 ms ago are ready now.
    fn recorder(limit: Option<Duration>) -> LoginRecorder {
        let objective = limit.map(|limit| ("login.max<…".to_owned(), limit));
        let now = Instant::now();
        let recorder =
            LoginRecorder { origin: before(now, 5_000), ..LoginRecorder::new(DURATION, objective) };
        (1..=100).for_each(|number| recorder.on_ready(before(now, 10 * number), now));
        recorder
    }

    #[test]
    fn the_slowest_tenth_of_the_logins_is_slow() {
        let recorder = recorder(None);
        let end = recorder.origin + Duration::from_secs(9);
        let slow = recorder.slow(end).expect("logins");
        assert_eq!((&*slow.threshold, slow.measured_ns), ("p90", 9_000_000_000));
        assert_eq!((slow.count, slow.kept.len()), (11, 11), "{slow:?}");
        let is_late =
            |span: &WaitSpan| span.sent_ns >= span.due_ns + 900_000_000 && span.sent_ns <= span.arrived_ns;
        assert!(slow.kept.iter().all(is_late), "{slow:?}");
        assert!(recorder.first().is_empty(), "visitors are no first logins");
    }

    #[test]
    fn a_single_login_is_slow() {
        let due = before(Instant::now(), 1_000);
        let recorder = LoginRecorder { origin: due, ..LoginRecorder::new(DURATION, None) };
        recorder.on_ready(due, due);
        let slow = recorder.slow(Instant::now()).expect("a login");
        assert_eq!((slow.count, slow.kept.len()), (1, 1));
    }

    #[test]
    fn an_objective_sets_the_limit_of_slow_logins() {
        let slow = recorder(Some(Duration::from_secs(3_600))).slow(Instant::now()).expect("logins");
        assert_eq!((&*slow.threshold, slow.count), ("login.max<…", 0));
        let slow = recorder(Some(Duration::ZERO)).slow(Instant::now()).expect("logins");
        assert_eq!((slow.count, slow.kept.len()), (100, 100));
        assert!(LoginRecorder::new(DURATION, None).slow(Instant::now()).is_none(), "no login");
    }

    /// More logins than are kept, and most of them above the objective.
    #[test]
    fn many_slow_logins_are_a_fair_sample() {
        let recorder = recorder(Some(Duration::from_millis(5)));
        for _ in 0..40_000 {
            let now = Instant::now();
            recorder.on_ready(before(now, 1_000), now);
            recorder.on_ready(before(now, 20), now);
        }
        let slow = recorder.slow(Instant::now()).expect("logins");
        assert!(slow.weight > 1 && slow.count == 80_100, "{} of {}", slow.weight, slow.count);
        let fast = slow.kept.iter().filter(|span| span.nanoseconds() < 500_000_000).count();
        let share = fast as f64 / slow.kept.len() as f64;
        assert!((0.45..0.55).contains(&share), "{share}");
    }
}
