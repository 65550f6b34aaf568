//! A budget: so many a period, saved up to so many.

use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct TokenBucket {
    left: f64,
    capacity: f64,
    per_second: f64,
    at: Instant,
}

impl TokenBucket {
    pub(crate) fn new(capacity: u32, per_second: f64, now: Instant) -> Self {
        let capacity = f64::from(capacity);
        Self { left: capacity, capacity, per_second, at: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let granted = self.left >= 1.0;
        if granted {
            self.left -= 1.0;
        }
        granted
    }

    fn refill(&mut self, now: Instant) {
        let passed: Duration = now.saturating_duration_since(self.at);
        self.at = now;
        self.left = (self.left + passed.as_secs_f64() * self.per_second).min(self.capacity);
    }

    /// Takes one only if more than half of the capacity would be left: for what
    /// may well be left out.
    pub(crate) fn take_spare(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left > self.capacity / 2.0 && self.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_comes_back_with_time() {
        let start = Instant::now();
        let mut budget = TokenBucket::new(2, 10.0, start);
        assert!(budget.take(start) && budget.take(start));
        assert!(!budget.take(start));
        assert!(budget.take(start + Duration::from_millis(150)));
        assert!(!budget.take(start + Duration::from_millis(160)));
        let later = start + Duration::from_secs(60);
        assert!(budget.take(later) && budget.take(later) && !budget.take(later), "no more than the capacity");
    }
}
