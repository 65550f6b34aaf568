//! When to check whether a tracked poll holds the driver of its runtime, and
//! what the last check found.

/// What is known about the driver during a tracked poll.
#[derive(Debug)]
pub(super) struct DriverCheck {
    /// The age of the poll at which the next check is due. It doubles each
    /// time.
    next_nanos: u64,
    /// How often the other workers of the runtime had unparked when the last
    /// check found that the poll holds the driver. `None` if it does not.
    other_unparks: Option<u64>,
}

impl DriverCheck {
    pub(super) fn new(threshold_nanos: u64) -> Self {
        Self { next_nanos: threshold_nanos.max(1), other_unparks: None }
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

    pub(super) fn set_held(&mut self, other_unparks: Option<u64>) {
        self.other_unparks = other_unparks;
    }

    pub(super) fn other_unparks(&self) -> Option<u64> {
        self.other_unparks
    }

    /// Returns whether the last check found that the poll held the driver.
    pub(super) fn is_held(&self) -> bool {
        self.other_unparks.is_some()
    }
}
