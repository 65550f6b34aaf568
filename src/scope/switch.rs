//! Switching what a scope records while the program runs.

use crate::recording::Recording;
use crate::scope::Scope;

impl Scope {
    /// Returns how much is recorded, or would be if the scope were not
    /// [paused](Self::pause).
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.state.recorder.level.recording()
    }

    /// Sets how much is recorded, from the next poll on: a poll in progress is
    /// recorded as it began. Any thread may call it at any time. It does not
    /// end a [pause](Self::pause).
    ///
    /// Tokio measures the schedule delay of every task only on runtimes whose
    /// builder was passed to [`watch`](Self::watch) by a scope that had started
    /// with [`Recording::Full`]. If this scope has started with
    /// [`Recording::Detect`], only named futures measure their delay later.
    ///
    /// # Examples
    ///
    /// ```
    /// use loopscope::{Recording, Scope};
    ///
    /// # fn main() -> Result<(), loopscope::StartError> {
    /// let scope = Scope::builder().recording(Recording::Detect).start()?;
    /// // An alert has fired: measure for a while.
    /// scope.set_recording(Recording::Full);
    /// // …
    /// scope.set_recording(Recording::Detect);
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_recording(&self, recording: Recording) {
        self.state.recorder.level.set_recording(recording, &self.state.recorder.clock);
    }

    /// Pauses recording: polls that begin from now on are not recorded, no
    /// stall of theirs is found, and the watchdog sleeps. A poll in progress is
    /// recorded to its end, and a stall in it is reported.
    ///
    /// Tasks, parks and calls on the blocking pool are still counted, because
    /// without them later counts would be wrong. Findings and telemetry remain
    /// available, and say that the scope is paused. Any thread may call it at
    /// any time, also if the scope is paused already. With `LOOPSCOPE=paused`
    /// in the environment, a scope begins paused.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> Result<(), loopscope::StartError> {
    /// # let scope = loopscope::Scope::builder().start()?;
    /// scope.pause();
    /// assert!(scope.is_paused() && scope.snapshot().is_paused);
    /// scope.resume();
    /// # assert!(!scope.is_paused());
    /// # Ok(())
    /// # }
    /// ```
    pub fn pause(&self) {
        self.state.recorder.level.set_paused(true, &self.state.recorder.clock);
    }

    /// Ends a [pause](Self::pause): the polls that begin from now on are
    /// recorded. A poll that began during the pause is not recorded.
    pub fn resume(&self) {
        self.state.recorder.level.set_paused(false, &self.state.recorder.clock);
        if let Some(watchdog) = self.watchdog.as_ref().filter(|_| !self.state.recorder.liveness.is_in_child())
        {
            watchdog.wake();
        }
    }

    /// Returns whether recording is [paused](Self::pause).
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.state.recorder.level.is_paused()
    }
}
