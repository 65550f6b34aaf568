//! What a scope was asked to do, checked, with the environment's overrides.

use std::env;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::StartError;

/// Where reports are drawn for people to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Terminal {
    /// On stderr, if that is a terminal.
    #[default]
    Auto,
    /// On stderr, whatever that is.
    Always,
    /// Nowhere: the `tracing` event is all there is.
    Never,
}

/// Whether the threads of watched runtimes may be sent signals to get at their
/// stacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signals {
    /// Never. A thread that computes then shows no stack, and so no line; one
    /// that waits shows what can be read from outside.
    Never,
    /// Where the program cannot notice: while a thread computes, or waits in a
    /// system call that the kernel restarts by itself. What remains is a thread
    /// that computes when it is looked at and enters a call that the kernel does
    /// not restart in the some 30 µs until the signal is there.
    #[default]
    Safe,
    /// Also in calls that then return `EINTR`, such as `poll`: more stacks are
    /// exact, and what does not expect an interruption may fail.
    Always,
}

/// Checked settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) off: bool,
    pub(crate) threshold: Duration,
    pub(crate) telemetry: Option<SocketAddr>,
    pub(crate) terminal: Terminal,
    pub(crate) schedule_delay: bool,
    pub(crate) signals: Signals,
    pub(crate) captures_per_second: u32,
}

/// Below this, the watchdog's own looks would be the load.
const SHORTEST_THRESHOLD: Duration = Duration::from_millis(1);
const LONGEST_THRESHOLD: Duration = Duration::from_secs(60);

impl Default for Settings {
    fn default() -> Self {
        Self {
            off: false,
            threshold: Duration::from_millis(10),
            telemetry: None,
            terminal: Terminal::Auto,
            schedule_delay: true,
            signals: Signals::Safe,
            captures_per_second: 10,
        }
    }
}

impl Settings {
    /// Applies `LOOPSCOPE`, `LOOPSCOPE_THRESHOLD` and `LOOPSCOPE_TELEMETRY`,
    /// and checks the whole.
    pub(crate) fn with_environment(self) -> Result<Self, StartError> {
        self.with(|name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn with(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Self, StartError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if let Some(value) = set("LOOPSCOPE") {
            self.off = match &*value {
                "off" | "0" => true,
                "on" | "1" => false,
                _ => return Err(wrong("LOOPSCOPE", value, "`on` or `off`")),
            };
        }
        if let Some(value) = set("LOOPSCOPE_THRESHOLD") {
            self.threshold = parse_duration(&value)
                .ok_or_else(|| wrong("LOOPSCOPE_THRESHOLD", value, "a duration such as `10ms` or `1.5s`"))?;
        }
        if let Some(value) = set("LOOPSCOPE_TELEMETRY") {
            let address = value.parse();
            let expected = "an address such as `127.0.0.1:9464`";
            self.telemetry = Some(address.map_err(|_| wrong("LOOPSCOPE_TELEMETRY", value, expected))?);
        }
        if !(SHORTEST_THRESHOLD..=LONGEST_THRESHOLD).contains(&self.threshold) {
            let value = format!("{:?}", self.threshold);
            return Err(wrong("the blocking threshold", value, "from 1ms to 60s"));
        }
        Ok(self)
    }
}

fn wrong(name: &'static str, value: String, expected: &'static str) -> StartError {
    StartError::Setting { name, value, expected }
}

/// `10ms`, `1.5s`, `250us`.
fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> Result<Settings, StartError> {
        Settings::default().with(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn the_environment_overrides() {
        assert!(with("LOOPSCOPE", "off").unwrap().off);
        assert_eq!(with("LOOPSCOPE_THRESHOLD", "25ms").unwrap().threshold, Duration::from_millis(25));
        assert_eq!(with("LOOPSCOPE_THRESHOLD", "1.5s").unwrap().threshold, Duration::from_millis(1500));
        let address = with("LOOPSCOPE_TELEMETRY", "127.0.0.1:0").unwrap().telemetry;
        assert_eq!(address, Some("127.0.0.1:0".parse().unwrap()));
        assert_eq!(with("LOOPSCOPE", "").unwrap(), Settings::default());
    }

    #[test]
    fn what_is_wrong_is_said_in_a_sentence() {
        for (name, value, expected) in [
            ("LOOPSCOPE", "maybe", "loopscope: LOOPSCOPE is `maybe`, but must be `on` or `off`"),
            (
                "LOOPSCOPE_THRESHOLD",
                "10",
                "loopscope: LOOPSCOPE_THRESHOLD is `10`, but must be a duration such as `10ms` or `1.5s`",
            ),
            (
                "LOOPSCOPE_THRESHOLD",
                "1us",
                "loopscope: the blocking threshold is `1µs`, but must be from 1ms to 60s",
            ),
            (
                "LOOPSCOPE_TELEMETRY",
                "9464",
                "loopscope: LOOPSCOPE_TELEMETRY is `9464`, but must be an address such as `127.0.0.1:9464`",
            ),
        ] {
            assert_eq!(with(name, value).unwrap_err().to_string(), expected);
        }
    }
}
