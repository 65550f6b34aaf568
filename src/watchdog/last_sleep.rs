//! Whether a runnable thread has run for some time since it last slept. If so,
//! it has left the system call in which it slept. If not, it may have just
//! woken in that call, and a signal would interrupt the call.

/// A thread that has run for this long since it last slept has left the call.
/// Leaving one takes some microseconds, or longer after a wait for thousands of
/// descriptors.
const MIN_RUN_NANOS: u64 = 500_000;
/// A thread that sleeps between each two samples is never found to have run for
/// long enough. After this many sleeps the watchdog does not wait for that.
const MAX_SLEEPS: u32 = 8;

/// What consecutive samples of a runnable thread show of its last sleep.
#[derive(Debug, Default)]
pub(super) struct LastSleep {
    observed: Option<ObservedCount>,
    /// How many samples in succession found that the thread had slept.
    samples_with_sleep: u32,
}

/// How often the thread had slept, and its CPU time soon after a sample first
/// found this number.
#[derive(Debug, Clone, Copy)]
struct ObservedCount {
    sleeps: u64,
    cpu_nanos: u64,
}

impl LastSleep {
    /// Adds how often a runnable thread has slept since its start, and its CPU
    /// time, which was read after that number. `None` means that the kernel
    /// does not report it.
    pub(super) fn add(&mut self, sleeps: Option<u64>, cpu_nanos: u64) {
        match (self.observed, sleeps) {
            (Some(observed), Some(sleeps)) if observed.sleeps == sleeps => {
                if self.has_run_until(cpu_nanos) {
                    self.samples_with_sleep = 0;
                }
            }
            (_, Some(sleeps)) => {
                self.observed = Some(ObservedCount { sleeps, cpu_nanos });
                self.samples_with_sleep = self.samples_with_sleep.saturating_add(1);
            }
            (_, None) => self.observed = None,
        }
    }

    /// Returns whether the thread has been added since [`Self::default`].
    pub(super) fn is_observed(&self) -> bool {
        self.observed.is_some()
    }

    /// Returns whether the thread, whose CPU time is `cpu_nanos` now, has run
    /// for long enough since it last slept.
    pub(super) fn has_run_until(&self, cpu_nanos: u64) -> bool {
        self.observed.is_some_and(|observed| cpu_nanos.saturating_sub(observed.cpu_nanos) >= MIN_RUN_NANOS)
    }

    /// Returns whether the thread has not slept again.
    pub(super) fn is_last(&self, sleeps: Option<u64>) -> bool {
        self.observed.is_some_and(|observed| sleeps == Some(observed.sleeps))
    }

    /// Returns whether later samples may show that the thread has run for long
    /// enough.
    pub(super) fn may_show_a_run(&self, cpu_nanos: u64) -> bool {
        self.is_observed() && !self.has_run_until(cpu_nanos) && self.samples_with_sleep <= MAX_SLEEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_run_once_its_cpu_time_grows_without_another_sleep() {
        let mut last = LastSleep::default();
        assert!(!last.has_run_until(9_000_000), "nothing is known");
        last.add(Some(3), 9_000_000);
        assert!(!last.has_run_until(9_000_000), "it may still be in the call that it slept in");
        assert!(!last.has_run_until(9_499_999));
        assert!(last.has_run_until(9_500_000));
        last.add(Some(3), 9_500_000);
        assert!(last.has_run_until(9_500_000));
        last.add(Some(4), 12_000_000);
        assert!(!last.has_run_until(12_000_000), "it has slept again");
    }

    #[test]
    fn a_thread_that_sleeps_between_all_samples_is_not_waited_for() {
        let mut last = LastSleep::default();
        for sleeps in 0..u64::from(MAX_SLEEPS) {
            last.add(Some(sleeps), 0);
            assert!(last.may_show_a_run(0));
        }
        last.add(Some(100), 0);
        assert!(!last.may_show_a_run(0));
        last.add(Some(100), MIN_RUN_NANOS);
        last.add(Some(101), MIN_RUN_NANOS);
        assert!(last.may_show_a_run(MIN_RUN_NANOS), "it has run in between");
    }

    #[test]
    fn without_the_number_of_sleeps_nothing_is_shown() {
        let mut last = LastSleep::default();
        last.add(None, 0);
        assert!(!last.has_run_until(u64::MAX) && !last.may_show_a_run(0) && !last.is_last(None));
    }
}
