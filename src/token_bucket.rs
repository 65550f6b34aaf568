//! A token bucket.

use std::time::{Duration, Instant};

/// Limits a rate: tokens accrue at a constant rate up to a capacity.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    tokens: f64,
    capacity: f64,
    tokens_per_second: f64,
    refilled_at: Instant,
}

impl TokenBucket {
    /// Creates a bucket that is full.
    pub(crate) fn new(capacity: u32, tokens_per_second: f64, now: Instant) -> Self {
        let capacity = f64::from(capacity);
        Self { tokens: capacity, capacity, tokens_per_second, refilled_at: now }
    }

    /// Takes a token. Returns `false` if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let granted = self.tokens >= 1.0;
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }

    fn refill(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.refilled_at);
        self.refilled_at = now;
        self.tokens = (self.tokens + passed.as_secs_f64() * self.tokens_per_second).min(self.capacity);
    }

    /// Takes a token if the bucket is more than half full, so that optional
    /// work leaves tokens for required work. Returns `false` otherwise.
    pub(crate) fn take_spare(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens > self.capacity / 2.0 && self.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_accrue_up_to_the_capacity() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(2, 10.0, start);
        assert!(bucket.take(start) && bucket.take(start));
        assert!(!bucket.take(start));
        assert!(bucket.take(start + Duration::from_millis(150)));
        assert!(!bucket.take(start + Duration::from_millis(160)));
        let later = start + Duration::from_secs(60);
        assert!(bucket.take(later) && bucket.take(later) && !bucket.take(later), "no more than the capacity");
    }
}
