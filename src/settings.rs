//! The settings of a scope, checked, with the overrides of the environment.

use std::env;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::StartError;
use crate::recording::Recording;

/// Where reports for people are printed.
///
/// They have colours if stderr is a terminal and the environment variable
/// `NO_COLOR` is unset or empty.
///
/// While the terminal is in raw mode, nothing is printed: a program draws on
/// it. Up to 64 KiB of reports are kept until the mode is back. At the end of
/// the scope they are dropped if the terminal is still in raw mode. A program
/// that draws on the alternate screen without raw mode cannot be recognised.
///
/// A subscriber takes an event if it formats the event's message, as does a
/// logger of Tracing's feature `log`. The target of findings is
/// `loopscope::blocking`, their level is WARN. A subscriber whose filter has
/// `loopscope::blocking=off` leaves them to stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Terminal {
    /// On stderr, if no `tracing` subscriber takes the report's event, so that
    /// no report is lost and none is on the same terminal twice.
    #[default]
    Auto,
    /// On stderr in any case.
    Always,
    /// Nowhere. Only the `tracing` event is emitted.
    Never,
}

impl Terminal {
    /// Returns the name of the setting in the environment.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Auto, Self::Always, Self::Never].into_iter().find(|terminal| terminal.as_str() == name)
    }

    /// Returns whether a message is printed to stderr of which it is not known
    /// whether a subscriber takes it.
    pub(crate) fn is_shown(self) -> bool {
        match self {
            Self::Auto => io::stderr().is_terminal(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// Whether loopscope may send signals to the threads of watched runtimes, to
/// capture their stacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signals {
    /// Never. The stack and source line of a thread that computes are then
    /// unknown. The stack of a thread that waits is read without a signal, as
    /// far as that is possible.
    Never,
    /// Only where the program cannot notice: while a thread computes, or waits
    /// in a system call that the kernel restarts by itself.
    ///
    /// A runnable thread may have just woken in a call, so it gets a signal
    /// only if it has run for 0.5 ms since it last slept. Where the kernel
    /// hides the call, because the process is not dumpable or has no `/proc`,
    /// a thread that waits gets no signal: its stack is unknown, and its cause
    /// is known only as far as the kernel names what it waits in.
    ///
    /// One risk remains. The signal arrives some microseconds after the last
    /// check. A thread that was computing may by then have entered a call that
    /// the kernel does not restart. That call returns `EINTR`.
    ///
    /// A call that works in the kernel without a wait may return fewer bytes
    /// than requested when its thread gets a signal: `getrandom` of more than
    /// 256 bytes, `sendfile`, a read of `/dev/zero`. `Signals::Never` prevents
    /// it.
    #[default]
    Safe,
    /// Also in system calls that then return `EINTR`, such as `poll`, and to
    /// threads that block the signal. More stacks are exact, but code that does
    /// not expect an interruption may fail.
    Always,
}

/// The settings of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) off: bool,
    pub(crate) recording: Recording,
    pub(crate) is_paused: bool,
    pub(crate) threshold: Duration,
    pub(crate) telemetry: Option<SocketAddr>,
    pub(crate) terminal: Terminal,
    pub(crate) schedule_delay: bool,
    pub(crate) signals: Signals,
    pub(crate) captures_per_second: u32,
    pub(crate) max_debug_info_memory: u64,
    pub(crate) is_attachable: bool,
}

/// With a shorter threshold, the watchdog's own sampling would be a
/// considerable load.
const MIN_THRESHOLD: Duration = Duration::from_millis(1);
const MAX_THRESHOLD: Duration = Duration::from_secs(60);

impl Default for Settings {
    fn default() -> Self {
        Self {
            off: false,
            recording: Recording::Full,
            is_paused: false,
            threshold: Duration::from_millis(10),
            telemetry: None,
            terminal: Terminal::Auto,
            schedule_delay: true,
            signals: Signals::Safe,
            captures_per_second: 10,
            max_debug_info_memory: 64 << 20,
            is_attachable: false,
        }
    }
}

impl Settings {
    /// Applies the environment variables `LOOPSCOPE`, `LOOPSCOPE_THRESHOLD`,
    /// `LOOPSCOPE_TELEMETRY` and `LOOPSCOPE_TERMINAL`, and checks the result.
    pub(crate) fn with_environment(self) -> Result<Self, StartError> {
        self.with_variables(|name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn with_variables(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Self, StartError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if let Some(value) = set("LOOPSCOPE") {
            (self.off, self.is_paused) = (false, false);
            match &*value {
                "off" | "0" => self.off = true,
                "on" | "1" => {}
                "full" => self.recording = Recording::Full,
                "detect" => self.recording = Recording::Detect,
                "paused" => self.is_paused = true,
                _ => {
                    let expected = "`on`, `off`, `full`, `detect` or `paused`";
                    return Err(invalid("LOOPSCOPE", value, expected));
                }
            }
        }
        if let Some(value) = set("LOOPSCOPE_THRESHOLD") {
            self.threshold = parse_duration(&value).ok_or_else(|| {
                invalid("LOOPSCOPE_THRESHOLD", value, "a duration such as `10ms` or `1.5s`")
            })?;
        }
        if let Some(value) = set("LOOPSCOPE_TELEMETRY") {
            let address = value.parse();
            let expected = "an address such as `127.0.0.1:9464`";
            self.telemetry = Some(address.map_err(|_| invalid("LOOPSCOPE_TELEMETRY", value, expected))?);
        }
        if let Some(value) = set("LOOPSCOPE_TERMINAL") {
            self.terminal = Terminal::from_name(&value)
                .ok_or_else(|| invalid("LOOPSCOPE_TERMINAL", value, "`auto`, `always` or `never`"))?;
        }
        self.checked()
    }

    /// Returns an error if a value is out of range.
    pub(crate) fn checked(self) -> Result<Self, StartError> {
        if !(MIN_THRESHOLD..=MAX_THRESHOLD).contains(&self.threshold) {
            let value = format!("{:?}", self.threshold);
            return Err(invalid("the blocking threshold", value, "from 1ms to 60s"));
        }
        Ok(self)
    }
}

fn invalid(name: &'static str, value: String, expected: &'static str) -> StartError {
    StartError::Setting { name, value, expected }
}

/// Parses a duration such as `10ms`, `1.5s` or `250us`.
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
        Settings::default().with_variables(|variable| (variable == name).then(|| value.to_owned()))
    }

    #[test]
    fn the_environment_overrides_the_settings() {
        assert!(with("LOOPSCOPE", "off").unwrap().off);
        assert!(with("LOOPSCOPE", "paused").unwrap().is_paused);
        assert_eq!(with("LOOPSCOPE", "detect").unwrap().recording, Recording::Detect);
        let detect_with = |value: &'static str| {
            let detect = Settings { recording: Recording::Detect, ..Settings::default() };
            detect.with_variables(|name| (name == "LOOPSCOPE").then(|| value.to_owned())).unwrap()
        };
        assert_eq!(detect_with("on").recording, Recording::Detect, "as the program has set");
        assert_eq!(detect_with("full").recording, Recording::Full);
        assert_eq!(with("LOOPSCOPE_THRESHOLD", "25ms").unwrap().threshold, Duration::from_millis(25));
        assert_eq!(with("LOOPSCOPE_THRESHOLD", "1.5s").unwrap().threshold, Duration::from_millis(1500));
        let address = with("LOOPSCOPE_TELEMETRY", "127.0.0.1:0").unwrap().telemetry;
        assert_eq!(address, Some("127.0.0.1:0".parse().unwrap()));
        assert_eq!(with("LOOPSCOPE", "").unwrap(), Settings::default());
        for terminal in [Terminal::Auto, Terminal::Always, Terminal::Never] {
            assert_eq!(with("LOOPSCOPE_TERMINAL", terminal.as_str()).unwrap().terminal, terminal);
        }
    }

    #[test]
    fn an_error_names_the_setting_its_value_and_valid_values() {
        for (name, value, expected) in [
            (
                "LOOPSCOPE",
                "maybe",
                "LOOPSCOPE is `maybe`, but must be `on`, `off`, `full`, `detect` or `paused`",
            ),
            (
                "LOOPSCOPE_THRESHOLD",
                "10",
                "LOOPSCOPE_THRESHOLD is `10`, but must be a duration such as `10ms` or `1.5s`",
            ),
            (
                "LOOPSCOPE_TERMINAL",
                "yes",
                "LOOPSCOPE_TERMINAL is `yes`, but must be `auto`, `always` or `never`",
            ),
            ("LOOPSCOPE_THRESHOLD", "1us", "the blocking threshold is `1µs`, but must be from 1ms to 60s"),
            (
                "LOOPSCOPE_TELEMETRY",
                "9464",
                "LOOPSCOPE_TELEMETRY is `9464`, but must be an address such as `127.0.0.1:9464`",
            ),
        ] {
            assert_eq!(with(name, value).unwrap_err().to_string(), expected);
        }
    }
}
