//! The ids of messages: numbers that only grow, also over restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Generates ids. Clones share the last one.
#[derive(Debug, Clone, Default)]
pub(crate) struct MessageIds(Arc<AtomicU64>);

impl MessageIds {
    /// Starts after the newest id of the history.
    pub(crate) fn after(newest: u64) -> Self {
        Self(Arc::new(AtomicU64::new(newest)))
    }

    /// Returns the next id: the microseconds of Unix time, or one more than the
    /// id before. So an id stays unique even if its message never came to the
    /// disk.
    pub(crate) fn next(&self, now: SystemTime) -> u64 {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let microseconds = u64::try_from(since.as_micros()).unwrap_or(0);
        let next = |last: u64| microseconds.max(last.saturating_add(1));
        let (Ok(last) | Err(last)) =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        next(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ids_grow_even_if_the_clock_does_not() {
        let ids = MessageIds::after(5);
        let at = |microseconds| UNIX_EPOCH + Duration::from_micros(microseconds);
        let other = ids.clone();
        assert_eq!([ids.next(at(3)), other.next(at(9)), ids.next(at(9)), ids.next(at(1))], [6, 9, 10, 11]);
    }
}
