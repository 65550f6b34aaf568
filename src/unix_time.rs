//! Times as nanoseconds of the Unix epoch.

use std::time::{Duration, SystemTime};

/// Returns the time `nanos` nanoseconds after the epoch.
pub(crate) fn from_nanos(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

/// Returns the nanoseconds from the epoch to `time`. A time before the epoch
/// gives zero; a time after the year 2554 gives the maximum.
pub(crate) fn to_nanos(time: SystemTime) -> u64 {
    u64::try_from(since_epoch(time).as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the duration from the epoch to `time`, zero if `time` is before it.
pub(crate) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
