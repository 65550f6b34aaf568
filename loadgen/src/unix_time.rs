//! Times as nanoseconds of the Unix epoch.

use std::time::{Duration, SystemTime};

use crate::plan::nanoseconds;

/// Returns `time` in nanoseconds of the Unix epoch; zero if it is earlier.
pub(crate) fn to_nanos(time: SystemTime) -> u64 {
    nanoseconds(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// Returns the time that is `nanos` after the Unix epoch.
pub(crate) fn from_nanos(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)).unwrap_or(SystemTime::UNIX_EPOCH)
}
