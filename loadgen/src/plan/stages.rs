//! The stages of a run: how the rate changes over time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::duration::{MAX_DURATION, too_long};

/// Maximum number of stages of a plan: each has its own figures in the report.
const MAX_STAGES: usize = 32;

/// The highest rate, in commands per second.
pub(crate) const MAX_RATE: f64 = 1_000_000.0;

/// A part of the run in which the rate is constant or changes linearly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stage {
    /// Commands per second at its beginning.
    pub(crate) from: f64,
    /// Commands per second at its end.
    pub(crate) to: f64,
    /// How long it lasts.
    pub(crate) duration: Duration,
}

impl Stage {
    /// Returns the number of its commands: the area under the rate curve.
    pub(crate) fn commands(&self) -> f64 {
        f64::midpoint(self.from, self.to) * self.duration.as_secs_f64()
    }

    /// Returns the time, in nanoseconds since its beginning, at which
    /// `commands` of its commands have become due.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds of a run are far below 2^53"
    )]
    pub(crate) fn at_ns(&self, commands: f64) -> u64 {
        if commands <= 0.0 {
            return 0;
        }
        let slope = (self.to - self.from) / self.duration.as_secs_f64();
        // The root of from·x + slope·x²/2 = commands, in the form that is exact
        // for a slope of zero too.
        let root = (self.from * self.from + 2.0 * slope * commands).max(0.0).sqrt();
        (2e9 * commands / (self.from + root)) as u64
    }
}

/// The stages of a run, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stages(Vec<Stage>);

impl Stages {
    /// Returns one stage with a constant rate.
    pub(crate) fn constant(rate: f64, duration: Duration) -> Self {
        Self(vec![Stage { from: rate, to: rate, duration }])
    }

    /// Returns all stages.
    pub(crate) fn all(&self) -> &[Stage] {
        &self.0
    }

    /// Returns the duration of all stages together.
    pub(crate) fn duration(&self) -> Duration {
        self.0.iter().map(|stage| stage.duration).sum()
    }

    /// Returns the average number of commands per second.
    pub(crate) fn mean_rate(&self) -> f64 {
        self.0.iter().map(Stage::commands).sum::<f64>() / self.duration().as_secs_f64()
    }

    /// Returns the rate at `at_ns` of the run, in commands per second; zero
    /// after the end.
    pub(crate) fn rate_at(&self, at_ns: u64) -> f64 {
        let mut begin = 0;
        for stage in &self.0 {
            let length = nanoseconds(stage.duration);
            if at_ns < begin + length {
                let share = (at_ns - begin) as f64 / length as f64;
                return stage.from + share * (stage.to - stage.from);
            }
            begin += length;
        }
        0.0
    }

    /// Returns the index of the stage at `at_ns` of the run.
    pub(crate) fn index_at(&self, at_ns: u64) -> usize {
        let mut end = 0;
        let index = self.0.iter().position(|stage| {
            end += nanoseconds(stage.duration);
            at_ns < end
        });
        index.unwrap_or(self.0.len() - 1)
    }
}

/// Returns `duration` in nanoseconds; `u64::MAX` if it is longer.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let stages: Vec<Stage> = text.split(',').map(stage).collect::<Result<_, _>>()?;
        if stages.len() > MAX_STAGES {
            return Err(format!("there are {} stages; use at most {MAX_STAGES}", stages.len()));
        }
        let total = stages.iter().try_fold(Duration::ZERO, |sum, stage| sum.checked_add(stage.duration));
        if total.is_none_or(|total| total > MAX_DURATION) {
            return Err(format!("the duration of all stages together is too long: {}", too_long()));
        }
        if stages.iter().map(Stage::commands).sum::<f64>() < 1.0 {
            return Err("the stages have no command; raise a rate or a duration".into());
        }
        Ok(Self(stages))
    }
}

fn stage(text: &str) -> Result<Stage, String> {
    let usage =
        || format!("`{text}` is not a stage; write RATE:DURATION or FROM-TO:DURATION, such as 0-500:30s");
    let (rates, duration) = text.trim().split_once(':').ok_or_else(usage)?;
    let (from, to) = rates.split_once('-').unwrap_or((rates, rates));
    let rate = |rate: &str| match rate.trim().parse() {
        Ok(rate) if (0.0..=MAX_RATE).contains(&rate) => Ok(rate),
        Ok(_) => Err(format!("the rate `{rate}` must be between 0 and 1,000,000 per second")),
        Err(_) => Err(usage()),
    };
    let duration = humantime::parse_duration(duration.trim()).map_err(|_| usage())?;
    if duration.is_zero() {
        return Err(format!("the stage `{text}` must be longer than zero"));
    }
    Ok(Stage { from: rate(from)?, to: rate(to)?, duration })
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.from)?;
        if (self.from - self.to).abs() > f64::EPSILON {
            write!(f, "-{}", self.to)?;
        }
        write!(f, ":{}", humantime::format_duration(self.duration).to_string().replace(' ', ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_parsed_and_formatted() {
        let stages: Stages = "100:10s, 100-500:1m30s,0:5s".parse().expect("stages");
        let texts: Vec<_> = stages.all().iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["100:10s", "100-500:1m30s", "0:5s"]);
        assert_eq!(stages.duration(), Duration::from_secs(105));
        assert!((stages.mean_rate() - (1_000.0 + 27_000.0) / 105.0).abs() < 1e-9);
        assert_eq!([0, 55_000_000_000, 200_000_000_000].map(|at| stages.rate_at(at)), [100.0, 300.0, 0.0]);
        let at = [0, 9_999_999_999, 10_000_000_000, 104_000_000_000, u64::MAX].map(|at| stages.index_at(at));
        assert_eq!(at, [0, 0, 1, 2, 2]);
    }

    #[test]
    fn the_commands_of_a_ramp_follow_the_area_under_the_rate() {
        let up = Stage { from: 0.0, to: 100.0, duration: Duration::from_secs(10) };
        assert!((up.commands() - 500.0).abs() < 1e-9);
        assert_eq!((up.at_ns(0.0), up.at_ns(500.0)), (0, 10_000_000_000));
        // A quarter of the area lies in the first half.
        assert_eq!(up.at_ns(125.0), 5_000_000_000);
        let down = Stage { from: 100.0, to: 0.0, ..up };
        assert_eq!(down.at_ns(375.0), 5_000_000_000);
    }

    #[test]
    fn bad_stages_are_refused_with_a_reason() {
        for (text, reason) in [
            ("100", "RATE:DURATION"),
            ("x:1s", "RATE:DURATION"),
            ("1:soon", "RATE:DURATION"),
            ("1-2-3:1s", "RATE:DURATION"),
            ("2000000:1s", "1,000,000"),
            ("nan:1s", "1,000,000"),
            ("5:0s", "longer than zero"),
            ("0:10s", "no command"),
            (&["1:1s"; 33].join(","), "at most 32"),
            ("1:18446744073709551615s,1:18446744073709551615s", "at most 365days"),
            ("1:365days,1:1s", "at most 365days"),
        ] {
            let error = text.parse::<Stages>().expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
