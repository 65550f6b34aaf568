//! How much a scope records.

/// How much a scope records of each poll.
///
/// Stalls are found, named and reported at every level. Set it with
/// [`ScopeBuilder::recording`](crate::ScopeBuilder::recording), with the
/// environment variable `LOOPSCOPE`, or while the program runs with
/// [`Scope::set_recording`](crate::Scope::set_recording).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Recording {
    /// The time of every poll and the schedule delay of every task: two
    /// readings of the time stamp counter for each poll, and what the
    /// [schedule delay](crate::ScopeBuilder::schedule_delay) costs.
    #[default]
    Full,
    /// Only stalls. A poll reads no clock: the watchdog's looks, two for each
    /// threshold, bring the time.
    ///
    /// A poll counts from the first look that finds it in progress to its exact
    /// end. So the duration of a stall is a lower bound: the stall lasts longer
    /// by at most the time between two looks, usually half of the threshold. A
    /// poll is a stall if its lower bound passes the threshold. So a poll of
    /// one and a half thresholds or longer is found, unless the watchdog gets
    /// no CPU, and no poll shorter than the threshold is reported.
    ///
    /// Not measured are poll times, schedule delays, the tasks that a stall
    /// delayed, the busy time of workers, and the flight recorder's short
    /// polls. Histograms stay as they are, and exporters omit them if the scope
    /// has never recorded in full. Counts of tasks, of polls of a worker and of
    /// parks, the lints of named futures, and the lag of canaries are recorded.
    Detect,
}

impl Recording {
    /// Returns the name of the level, as in the environment and in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Detect => "detect",
        }
    }
}
