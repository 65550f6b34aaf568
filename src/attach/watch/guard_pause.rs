//! When a thread that begins one poll after the other is guarded again.

/// These are as long as the threshold. A longer pause would hide a poll that
/// computes for twice that time.
const MAX_LOOKS: u32 = 4;

/// How many looks pass without a guard, after one that was written to. Each
/// write that hits costs the thread time, and a thread with many polls of the
/// same task may look as if it was always in the same one.
#[derive(Debug, Default)]
pub(super) struct GuardPause {
    looks: u32,
    left: u32,
}

impl GuardPause {
    /// Begins a pause, twice as long as the last one. A guard that holds makes
    /// the next pause a short one again: it replaces this value.
    pub(super) fn begin(&mut self) {
        self.looks = (2 * self.looks).clamp(1, MAX_LOOKS);
        self.left = self.looks;
    }

    /// Returns whether the pause is over. If not, this look is one of it.
    pub(super) fn is_over(&mut self) -> bool {
        let is_over = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guard_that_is_written_to_makes_the_next_pause_longer() {
        let mut pause = GuardPause::default();
        assert!(pause.is_over(), "the first guard is set at once");
        let mut lengths = Vec::new();
        for _ in 0..4 {
            pause.begin();
            lengths.push(std::iter::from_fn(|| (!pause.is_over()).then_some(())).count());
        }
        assert_eq!(lengths, [1, 2, 4, 4]);
    }
}
