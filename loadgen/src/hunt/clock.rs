//! The server's clock relative to the clock of this machine.
//!
//! The method is that of NTP. The server reads its clock at some time between
//! the request and the answer, so the offset can be wrong by at most half of
//! the round trip. Of several exchanges, the one with the shortest round trip
//! is the most precise. Exchanges take place before and after the run. In
//! between, the clocks are assumed to drift linearly. Half of the drift is
//! added to the error bound, so a clock that was set during the run shows in
//! the bound.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::plan::nanoseconds;
use crate::report::Clock;

/// The number of exchanges before the run, and again after it.
pub(crate) const CLOCK_EXCHANGES: usize = 8;

/// One request for the server's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    /// When the request was sent.
    pub(crate) sent: Instant,
    /// The time of the server's clock, in nanoseconds of the Unix epoch.
    pub(crate) server_unix_ns: u64,
    /// When the server's scope started, by the same reading of its clock;
    /// `None` if the server does not report it.
    pub(crate) scope_start_unix_ns: Option<u64>,
    /// When the answer had arrived.
    pub(crate) answered: Instant,
}

impl Exchange {
    fn round_trip(&self) -> Duration {
        self.answered.saturating_duration_since(self.sent)
    }

    /// Returns how long the server's scope had been running, in nanoseconds.
    fn scope_age_ns(&self) -> Option<u64> {
        Some(self.server_unix_ns.saturating_sub(self.scope_start_unix_ns?))
    }

    fn middle(&self) -> Instant {
        self.sent + self.round_trip() / 2
    }

    /// Returns the exchange with the shortest round trip.
    pub(crate) fn best(exchanges: impl IntoIterator<Item = Self>) -> Option<Self> {
        exchanges.into_iter().min_by_key(Self::round_trip)
    }
}

/// Converts instants of this machine to the server's wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alignment {
    before: Exchange,
    after: Exchange,
}

impl Alignment {
    /// Returns the alignment by the best exchange before the run and the best
    /// one after it.
    pub(crate) const fn new(before: Exchange, after: Exchange) -> Self {
        Self { before, after }
    }

    /// Returns the time of the server's clock at `instant`, in nanoseconds of
    /// the Unix epoch.
    pub(crate) fn server_unix_ns(&self, instant: Instant) -> i64 {
        let since = signed(instant, self.before.middle());
        let between = signed(self.after.middle(), self.before.middle());
        let drift = if between > 0 {
            i128::from(self.drift_ns()) * i128::from(since) / i128::from(between)
        } else {
            0
        };
        saturated(i128::from(self.before.server_unix_ns) + i128::from(since) + drift)
    }

    /// Returns the largest error of [`Alignment::server_unix_ns`].
    pub(crate) fn error(&self) -> Duration {
        self.slower_round_trip() / 2 + Duration::from_nanos(self.drift_ns().unsigned_abs() / 2)
    }

    fn slower_round_trip(&self) -> Duration {
        self.before.round_trip().max(self.after.round_trip())
    }

    /// Returns whether the server's scope started again between the two
    /// exchanges.
    ///
    /// The new scope started after the first exchange, so its start is later
    /// than that of the old one by at least the age that the old one had. Half
    /// of that is required, because the start of the same scope moves a little
    /// from answer to answer. The drift is subtracted, so a clock that was set
    /// is not a restart; it is known to within the slower round trip.
    pub(crate) fn has_restarted(&self) -> bool {
        let (before, after) = (self.before.scope_start_unix_ns, self.after.scope_start_unix_ns);
        let (Some(before_ns), Some(after_ns)) = (before, after) else {
            // Whether it is reported depends on the version of the library.
            return before.is_some() != after.is_some();
        };
        let moved_ns = i128::from(after_ns) - i128::from(before_ns) - i128::from(self.drift_ns());
        let half_age_ns = i128::from(self.before.scope_age_ns().unwrap_or(0) / 2);
        let drift_error_ns = i128::from(nanoseconds(self.slower_round_trip()));
        moved_ns > half_age_ns.max(drift_error_ns)
    }

    /// Returns by how much the server's clock advanced more than the clock of
    /// this machine between the two exchanges, in nanoseconds.
    pub(crate) fn drift_ns(&self) -> i64 {
        let server = i128::from(self.after.server_unix_ns) - i128::from(self.before.server_unix_ns);
        saturated(server - i128::from(signed(self.after.middle(), self.before.middle())))
    }

    /// Returns by how much the server's wall clock is ahead of this machine's
    /// now, in nanoseconds.
    pub(crate) fn offset_ns(&self) -> i64 {
        let local = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let server = i128::from(self.server_unix_ns(Instant::now()));
        saturated(server - i128::try_from(local).unwrap_or(i128::MAX))
    }
}

impl From<&Alignment> for Clock {
    #[expect(
        clippy::cast_precision_loss,
        reason = "the difference of two clocks is shown with three significant digits"
    )]
    fn from(alignment: &Alignment) -> Self {
        Self {
            ahead_seconds: alignment.offset_ns() as f64 / 1e9,
            error_seconds: alignment.error().as_secs_f64(),
            drift_seconds: alignment.drift_ns() as f64 / 1e9,
            exchanges: 2 * CLOCK_EXCHANGES as u64,
        }
    }
}

/// Returns the time from `b` to `a`, in nanoseconds; negative if `a` is
/// earlier.
fn signed(a: Instant, b: Instant) -> i64 {
    let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match a.checked_duration_since(b) {
        Some(after) => nanoseconds(after),
        None => -nanoseconds(b.duration_since(a)),
    }
}

fn saturated(nanoseconds: i128) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn exchange(start: Instant, sent_ms: u64, took_ms: u64, server_ms: u64) -> Exchange {
        let sent = start + Duration::from_millis(sent_ms);
        let answered = sent + Duration::from_millis(took_ms);
        Exchange { sent, answered, server_unix_ns: server_ms * MS, scope_start_unix_ns: None }
    }

    /// Returns whether a server restarted whose scope started at these times.
    /// Between the exchanges, 100 s pass here and `server_ms` at the server.
    fn has_restarted(first_start_ms: Option<u64>, second_start_ms: Option<u64>, server_ms: u64) -> bool {
        let start = Instant::now();
        let with_scope = |exchange, scope_start_ms: Option<u64>| Exchange {
            scope_start_unix_ns: scope_start_ms.map(|ms| ms * MS),
            ..exchange
        };
        let first = with_scope(exchange(start, 0, 2, 50_000), first_start_ms);
        let second = with_scope(exchange(start, 100_000, 2, 50_000 + server_ms), second_start_ms);
        Alignment::new(first, second).has_restarted()
    }

    #[test]
    fn a_scope_that_starts_after_the_first_exchange_is_a_restart() {
        assert!(has_restarted(Some(10_000), Some(60_000), 100_000));
        assert!(has_restarted(Some(49_990), Some(50_010), 100_000), "soon after the first start");
        assert!(!has_restarted(Some(10_000), Some(10_000), 100_000));
        assert!(!has_restarted(Some(10_000), Some(10_300), 100_000), "the recorder's clock is a little slow");
        assert!(!has_restarted(Some(50_000), Some(50_000), 100_000), "a scope that has just started");
    }

    #[test]
    fn a_clock_that_was_set_is_not_a_restart() {
        let hour_ms = 3_600_000;
        assert!(!has_restarted(Some(10_000), Some(10_000 + hour_ms), 100_000 + hour_ms));
        assert!(has_restarted(Some(10_000), Some(60_000 + hour_ms), 100_000 + hour_ms));
    }

    #[test]
    fn a_server_without_the_start_of_its_scope_is_known_by_its_pid_only() {
        assert!(!has_restarted(None, None, 100_000));
        assert!(has_restarted(None, Some(10_000), 100_000) && has_restarted(Some(10_000), None, 100_000));
    }

    #[test]
    fn the_fastest_exchange_counts_and_half_of_it_is_the_error_bound() {
        let start = Instant::now();
        let slow = exchange(start, 0, 100, 5_090);
        let fast = exchange(start, 200, 10, 5_205);
        let best = Exchange::best([slow, fast, slow]).expect("there were three");
        assert_eq!(best.server_unix_ns, fast.server_unix_ns);
        let alignment = Alignment::new(best, exchange(start, 1_200, 10, 6_205));
        assert_eq!(alignment.error(), Duration::from_millis(5));
        assert_eq!(alignment.drift_ns(), 0);
        assert_eq!(alignment.server_unix_ns(start), 5_000 * MS as i64);
        assert_eq!(alignment.server_unix_ns(start + Duration::from_millis(700)), 5_700 * MS as i64);
    }

    #[test]
    fn a_drift_is_interpolated_and_widens_the_error_bound() {
        let start = Instant::now();
        let alignment = Alignment::new(exchange(start, 0, 0, 1_000), exchange(start, 1_000, 0, 2_020));
        assert_eq!(alignment.drift_ns(), 20 * MS as i64);
        assert_eq!(alignment.error(), Duration::from_millis(10));
        assert_eq!(alignment.server_unix_ns(start + Duration::from_millis(500)), 1_510 * MS as i64);
    }

    #[test]
    fn an_extreme_server_time_causes_no_overflow() {
        let start = Instant::now();
        for server in [0, u64::MAX] {
            let odd = Exchange {
                sent: start,
                answered: start,
                server_unix_ns: server,
                scope_start_unix_ns: Some(u64::MAX - server),
            };
            let alignment = Alignment::new(odd, odd);
            let _ = (alignment.server_unix_ns(start), alignment.offset_ns(), alignment.error());
            assert!(!alignment.has_restarted());
        }
    }
}
