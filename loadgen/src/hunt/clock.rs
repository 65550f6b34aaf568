//! The server's clock as seen from here.
//!
//! As NTP does it: of several questions, the one that was answered fastest
//! tells most, for the server read its clock somewhere between the sending and
//! the answer. Half of that time is all that the offset can be wrong by. It is
//! asked before and after the run; in between the clocks are taken to drift
//! evenly, and half of the drift is added to the bound, so that a clock which
//! was set in the meantime shows.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::report::Clock;

/// How often the time is asked for at one occasion.
pub(crate) const CLOCK_EXCHANGES: usize = 8;

/// One question for the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    /// When it was sent.
    pub(crate) sent: Instant,
    /// What the server's clock said, in nanoseconds of the Unix epoch.
    pub(crate) server_unix_ns: u64,
    /// When the answer had come.
    pub(crate) answered: Instant,
}

impl Exchange {
    fn took(&self) -> Duration {
        self.answered.saturating_duration_since(self.sent)
    }

    fn middle(&self) -> Instant {
        self.sent + self.took() / 2
    }

    /// The one that was answered fastest.
    pub(crate) fn best(exchanges: impl IntoIterator<Item = Self>) -> Option<Self> {
        exchanges.into_iter().min_by_key(Self::took)
    }
}

/// Turns instants of this machine into the server's wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alignment {
    before: Exchange,
    after: Exchange,
}

impl Alignment {
    /// From the best exchange before the run and the best one after it.
    pub(crate) const fn new(before: Exchange, after: Exchange) -> Self {
        Self { before, after }
    }

    /// What the server's clock said at `instant`, in nanoseconds of the Unix
    /// epoch.
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

    /// By how much [`Alignment::server_unix_ns`] can be wrong, at most.
    pub(crate) fn error(&self) -> Duration {
        let slower = self.before.took().max(self.after.took());
        slower / 2 + Duration::from_nanos(self.drift_ns().unsigned_abs() / 2)
    }

    /// By how much the server's clock got ahead of ours between the two
    /// exchanges, in nanoseconds.
    pub(crate) fn drift_ns(&self) -> i64 {
        let theirs = i128::from(self.after.server_unix_ns) - i128::from(self.before.server_unix_ns);
        saturated(theirs - i128::from(signed(self.after.middle(), self.before.middle())))
    }

    /// By how much the server's wall clock is ahead of this machine's now, in
    /// nanoseconds.
    pub(crate) fn offset_ns(&self) -> i64 {
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let theirs = i128::from(self.server_unix_ns(Instant::now()));
        saturated(theirs - i128::try_from(ours).unwrap_or(i128::MAX))
    }
}

impl From<&Alignment> for Clock {
    #[expect(clippy::cast_precision_loss, reason = "a difference between two clocks, for the eye")]
    fn from(alignment: &Alignment) -> Self {
        Self {
            ahead_seconds: alignment.offset_ns() as f64 / 1e9,
            error_seconds: alignment.error().as_secs_f64(),
            drift_seconds: alignment.drift_ns() as f64 / 1e9,
            exchanges: 2 * CLOCK_EXCHANGES as u64,
        }
    }
}

/// From `b` to `a`, in nanoseconds.
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
        Exchange { sent, answered, server_unix_ns: server_ms * MS }
    }

    #[test]
    fn the_fastest_answer_counts_and_half_of_it_is_the_bound() {
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
    fn a_drift_is_followed_and_widens_the_bound() {
        let start = Instant::now();
        let alignment = Alignment::new(exchange(start, 0, 0, 1_000), exchange(start, 1_000, 0, 2_020));
        assert_eq!(alignment.drift_ns(), 20 * MS as i64);
        assert_eq!(alignment.error(), Duration::from_millis(10));
        assert_eq!(alignment.server_unix_ns(start + Duration::from_millis(500)), 1_510 * MS as i64);
    }

    #[test]
    fn a_server_that_lives_in_the_past_or_the_future_is_no_matter() {
        let start = Instant::now();
        for server in [0, u64::MAX] {
            let odd = Exchange { sent: start, answered: start, server_unix_ns: server };
            let alignment = Alignment::new(odd, odd);
            let _ = (alignment.server_unix_ns(start), alignment.offset_ns(), alignment.error());
        }
    }
}
