//! When to check whether a tracked poll holds the driver of its runtime, and
//! what the last check found.

use crate::evidence::HeldDriver;

/// What a check finds if the poll holds the driver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DriverHold {
    pub(crate) driver: HeldDriver,
    /// How often the other workers of the runtime had unparked.
    pub(crate) other_unparks: u64,
}

/// What is known about the driver during a tracked poll.
#[derive(Debug)]
pub(super) struct DriverCheck {
    /// The age of the poll at which the next check is due. It doubles each
    /// time.
    next_nanos: u64,
    /// What the last check found. `None` if the poll did not hold the driver.
    hold: Option<DriverHold>,
}

impl DriverCheck {
    pub(super) fn new(threshold_nanos: u64) -> Self {
        Self { next_nanos: threshold_nanos.max(1), hold: None }
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

    pub(super) fn set_hold(&mut self, hold: Option<DriverHold>) {
        self.hold = hold;
    }

    pub(super) fn other_unparks(&self) -> Option<u64> {
        self.hold.map(|hold| hold.other_unparks)
    }

    /// Returns the driver if the last check found that the poll held it.
    pub(super) fn held(&self) -> Option<HeldDriver> {
        self.hold.map(|hold| hold.driver)
    }
}
