//! Reconnect storms: a part of the connections drops at once, again and again.

use std::str::FromStr;
use std::time::Duration;

use super::duration::{MAX_DURATION, too_long};

/// The largest part of the connections that reconnects. The others measure the
/// deliveries.
const MAX_FRACTION: f64 = 0.9;

/// When how many connections drop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Storm {
    /// The time from the start of the measurement to the first storm, and
    /// between two storms.
    pub(crate) every: Duration,
    /// The part of the connections.
    pub(crate) fraction: f64,
}

impl Storm {
    /// Returns how many of `connections` drop.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of 100,000 at most")]
    pub(crate) fn clients(self, connections: u32) -> usize {
        ((f64::from(connections) * self.fraction).round() as usize).max(1)
    }
}

impl FromStr for Storm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (every, fraction) = text.split_once(':').ok_or("write it as EVERY:PERCENT, such as 5s:20%")?;
        let every = humantime::parse_duration(every)
            .map_err(|error| format!("{error}; write a time with a unit, such as 5s:20%"))?;
        if every > MAX_DURATION {
            return Err(format!("the time between two storms is too long: {}", too_long()));
        }
        if every < Duration::from_millis(100) {
            return Err("the time between two storms must be at least 100ms".into());
        }
        let percent = fraction.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let fraction = percent.ok_or("write the part as a percentage, such as 5s:20%")? / 100.0;
        if !(0.0..=MAX_FRACTION).contains(&fraction) || fraction <= 0.0 {
            return Err("the part must be above 0% and at most 90%".into());
        }
        Ok(Self { every, fraction })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_has_an_interval_and_a_part() {
        let storm: Storm = "5s:20%".parse().expect("a storm");
        assert_eq!((storm.every, storm.clients(1000), storm.clients(2)), (Duration::from_secs(5), 200, 1));
        for text in ["5s", "5s:20", "5s:0%", "5s:91%", "5s:nan%", "10ms:5%", "366days:5%", "x:5%"] {
            assert!(text.parse::<Storm>().is_err(), "{text}");
        }
    }
}
