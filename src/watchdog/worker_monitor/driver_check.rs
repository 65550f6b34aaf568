//! When to check whether a tracked poll holds the driver of its runtime, and
//! what the last check found.

/// What is known about the driver during a tracked poll.
#[derive(Debug)]
pub(super) struct DriverCheck {
    /// The age of the poll at which the next check is due. It doubles each
    /// time.
    next_nanos: u64,
    is_held: bool,
}

impl DriverCheck {
    pub(super) fn new(threshold_nanos: u64) -> Self {
        Self { next_nanos: threshold_nanos.max(1), is_held: false }
    }

    /// Returns whether a check is due at this age of the poll, and schedules
    /// the next one if so.
    pub(super) fn take_due(&mut self, age_nanos: u64) -> bool {
        let is_due = age_nanos >= self.next_nanos;
        while is_due && self.next_nanos <= age_nanos {
            self.next_nanos = self.next_nanos.saturating_mul(2);
        }
        is_due
    }

    pub(super) fn set_held(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Returns whether the last check found that the poll held the driver.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }
}
