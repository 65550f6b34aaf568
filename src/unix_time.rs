//! Instants as nanoseconds of the Unix epoch. Times before the epoch count as
//! the epoch; nanoseconds past the year 2554 saturate.

use std::time::{Duration, SystemTime};

pub(crate) fn from_nanos(nanos: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}

#[cfg(feature = "serde")]
pub(crate) fn to_nanos(time: SystemTime) -> u64 {
    u64::try_from(since_epoch(time).as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(feature = "serde")]
pub(crate) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
