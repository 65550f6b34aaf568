//! Reads one value of `--inject SITE[=DURATION][@PERCENT%]`.

use std::fmt;
use std::time::Duration;

/// How long a mistake blocks and how often it is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MistakeSettings {
    /// The minimum time that the mistake blocks.
    pub(super) duration: Duration,
    /// The percentage of calls that make the mistake.
    pub(super) percent: f64,
}

/// Where a mistake can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InjectionSite {
    Sleep,
    History,
    Password,
    Filter,
    Resolve,
    Lock,
    Channel,
    Child,
    Upstream,
    Certificate,
    Chathistory,
}

/// The names of the sites, as error texts list them.
const SITE_NAMES: &str = "sleep, history, password, filter, resolve, lock, channel, child, upstream, certificate, chathistory or all";

impl InjectionSite {
    pub(crate) const ALL: [Self; 11] = [
        Self::Sleep,
        Self::History,
        Self::Password,
        Self::Filter,
        Self::Resolve,
        Self::Lock,
        Self::Channel,
        Self::Child,
        Self::Upstream,
        Self::Certificate,
        Self::Chathistory,
    ];

    /// Returns the name in the flag.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sleep => "sleep",
            Self::History => "history",
            Self::Password => "password",
            Self::Filter => "filter",
            Self::Resolve => "resolve",
            Self::Lock => "lock",
            Self::Channel => "channel",
            Self::Child => "child",
            Self::Upstream => "upstream",
            Self::Certificate => "certificate",
            Self::Chathistory => "chathistory",
        }
    }

    /// Returns the duration and percentage of a site if the flag does not set
    /// them.
    ///
    /// With 1,000 clients that send 200 messages a second, a site makes a few
    /// dozen mistakes in 20 s and the server stays usable. A site whose command
    /// is rare makes its mistake more often, or always. `lock` needs no lower
    /// percentage: its lock is held only once every half second.
    fn default_settings(self) -> MistakeSettings {
        let (milliseconds, percent) = match self {
            Self::Sleep | Self::History | Self::Filter => (50, 1.0),
            Self::Resolve => (30, 2.0),
            Self::Channel => (40, 20.0),
            Self::Certificate => (40, 5.0),
            Self::Upstream => (40, 50.0),
            Self::Password | Self::Chathistory => (50, 100.0),
            Self::Child => (40, 100.0),
            Self::Lock => (60, 100.0),
        };
        MistakeSettings { duration: Duration::from_millis(milliseconds), percent }
    }
}

/// The error of a value of `--inject`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SpecError {
    /// The site does not exist.
    Site(String),
    /// The duration is not from 1 ms to 60 s.
    Duration(String),
    /// The percentage is 0 or less, or more than 100.
    Percent(String),
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site(name) => write!(f, "unknown injection site `{name}`, must be {SITE_NAMES}"),
            Self::Duration(text) => write!(f, "duration `{text}` must be from 1ms to 60s, such as `50ms`"),
            Self::Percent(text) => write!(f, "`@{text}` must be above 0% and at most 100%, such as `@5%`"),
        }
    }
}

impl std::error::Error for SpecError {}

/// Reads one value. `all` returns every site.
pub(super) fn parse(text: &str) -> Result<Vec<(InjectionSite, MistakeSettings)>, SpecError> {
    let (rest, percent) = match text.split_once('@') {
        Some((rest, percent)) => (rest, Some(parse_percent(percent)?)),
        None => (text, None),
    };
    let (name, duration) = match rest.split_once('=') {
        Some((name, duration)) => (name, Some(parse_duration(duration)?)),
        None => (rest, None),
    };
    let with_settings = |site: InjectionSite| {
        let default = site.default_settings();
        (
            site,
            MistakeSettings {
                duration: duration.unwrap_or(default.duration),
                percent: percent.unwrap_or(default.percent),
            },
        )
    };
    Ok(sites(name)?.into_iter().map(with_settings).collect())
}

fn sites(name: &str) -> Result<Vec<InjectionSite>, SpecError> {
    if name == "all" {
        return Ok(InjectionSite::ALL.to_vec());
    }
    let site = InjectionSite::ALL.into_iter().find(|site| site.name() == name);
    site.map(|site| vec![site]).ok_or_else(|| SpecError::Site(name.to_owned()))
}

fn parse_duration(text: &str) -> Result<Duration, SpecError> {
    let allowed = Duration::from_millis(1)..=Duration::from_secs(60);
    let duration = humantime::parse_duration(text).ok().filter(|duration| allowed.contains(duration));
    duration.ok_or_else(|| SpecError::Duration(text.to_owned()))
}

fn parse_percent(text: &str) -> Result<f64, SpecError> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    number
        .filter(|&percent| percent > 0.0 && percent <= 100.0)
        .ok_or_else(|| SpecError::Percent(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> (InjectionSite, Duration, f64) {
        let parsed = parse(text).expect(text);
        assert_eq!(parsed.len(), 1, "{text}");
        (parsed[0].0, parsed[0].1.duration, parsed[0].1.percent)
    }

    #[test]
    fn every_form_is_parsed() {
        assert_eq!(one("sleep"), (InjectionSite::Sleep, Duration::from_millis(50), 1.0));
        assert_eq!(one("history=20ms"), (InjectionSite::History, Duration::from_millis(20), 1.0));
        assert_eq!(one("password@5%"), (InjectionSite::Password, Duration::from_millis(50), 5.0));
        assert_eq!(one("filter=1s@0.5%"), (InjectionSite::Filter, Duration::from_secs(1), 0.5));
        assert_eq!(one("lock=60ms@100%"), (InjectionSite::Lock, Duration::from_millis(60), 100.0));
        let all = parse("all=30ms").expect("valid");
        assert_eq!(all.iter().map(|(site, _)| *site).collect::<Vec<_>>(), InjectionSite::ALL);
        assert!(all.iter().all(|(_, settings)| settings.duration == Duration::from_millis(30)));
    }

    #[test]
    fn every_error_says_what_is_right() {
        for (text, part) in [
            ("slep", "unknown injection site `slep`"),
            ("", "unknown injection site ``"),
            ("sleeping=20ms", "must be sleep, history"),
            ("sleep=", "duration ``"),
            ("sleep=20", "duration `20`"),
            ("sleep=2h", "from 1ms to 60s"),
            ("sleep=0ms", "from 1ms to 60s"),
            ("sleep@5", "`@5` must be"),
            ("sleep@0%", "above 0%"),
            ("sleep@101%", "at most 100%"),
            ("sleep@NaN%", "at most 100%"),
            ("all@x%", "`@x%`"),
        ] {
            let message = parse(text).expect_err(text).to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
