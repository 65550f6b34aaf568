//! Times in JSON, for serde's `with`: durations as seconds, times as seconds or
//! nanoseconds of the Unix epoch.

use std::time::{Duration, SystemTime};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::unix_time;

/// A [`Duration`] as seconds, a floating point number.
pub(crate) mod seconds {
    use super::{Deserialize, Deserializer, Duration, Serializer, duration_from_seconds};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        duration_from_seconds(f64::deserialize(deserializer)?)
    }
}

/// An optional [`Duration`] as seconds or null.
pub(crate) mod optional_seconds {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, duration_from_seconds};

    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(deserializer)?.map(duration_from_seconds).transpose()
    }
}

/// A [`SystemTime`] as seconds of the Unix epoch, a floating point number.
pub(crate) mod unix_seconds {
    use super::{Deserialize, Deserializer, Error, Serializer, SystemTime, duration_from_seconds, unix_time};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(unix_time::since_epoch(*time).as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let since_epoch = duration_from_seconds(f64::deserialize(deserializer)?)?;
        let time = SystemTime::UNIX_EPOCH.checked_add(since_epoch);
        time.ok_or_else(|| D::Error::custom("the time is too late for this system"))
    }
}

/// A [`SystemTime`] as nanoseconds of the Unix epoch, a whole number.
pub(crate) mod unix_nanos {
    use super::{Deserialize, Deserializer, Serializer, SystemTime, unix_time};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(unix_time::to_nanos(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        u64::deserialize(deserializer).map(unix_time::from_nanos)
    }
}

/// An optional [`SystemTime`] as nanoseconds of the Unix epoch or null.
pub(crate) mod optional_unix_nanos {
    use super::{Deserialize, Deserializer, Serialize, Serializer, SystemTime, unix_time};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(unix_time::to_nanos).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(unix_time::from_nanos))
    }
}

fn duration_from_seconds<E: Error>(seconds: f64) -> Result<Duration, E> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        E::custom(format_args!("{seconds} is not a time in seconds: it must be finite and not negative"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, to_string};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "seconds")]
        duration: Duration,
        #[serde(with = "optional_seconds")]
        optional: Option<Duration>,
        #[serde(with = "unix_seconds")]
        time: SystemTime,
        #[serde(with = "unix_nanos")]
        nanos: SystemTime,
        #[serde(with = "optional_unix_nanos")]
        optional_nanos: Option<SystemTime>,
    }

    #[test]
    fn times_become_numbers_in_json_and_are_read_back() {
        let at = unix_time::from_nanos(1_700_000_000_500_000_000);
        let times = Times {
            duration: Duration::from_millis(2_410),
            optional: None,
            time: at,
            nanos: at,
            optional_nanos: Some(at),
        };
        let json = to_string(&times).unwrap();
        assert_eq!(
            json,
            r#"{"duration":2.41,"optional":null,"time":1700000000.5,"nanos":1700000000500000000,"optional_nanos":1700000000500000000}"#
        );
        assert_eq!(from_str::<Times>(&json).unwrap(), times);
    }

    #[test]
    fn invalid_times_are_refused_with_the_reason() {
        let error = |duration: &str, time: &str| {
            let json = format!(
                r#"{{"duration":{duration},"optional":null,"time":{time},"nanos":0,"optional_nanos":null}}"#
            );
            from_str::<Times>(&json).unwrap_err().to_string()
        };
        assert!(error("-1.0", "0").contains("-1 is not a time in seconds"));
        assert!(error("1e300", "0").contains("is not a time in seconds"));
        assert!(error("1", "-5").contains("-5 is not a time in seconds"));
    }
}
