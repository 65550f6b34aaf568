//! The checked configuration.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::account_policy::{AccountPolicy, SaslUse};
use crate::args::Args;
use crate::bounded_file;
use crate::client_limits::ClientLimits;
use crate::config_error::ConfigError;
use crate::config_file;
use crate::inject::flag::Injections;
use crate::inject::spec::{InjectionSite, SpecError};
use crate::tls::settings::CertificateSource;

/// Maximum size of the message of the day.
const MAX_MOTD_BYTES: u64 = 64 * 1024;
const MAX_WORKERS: usize = 1024;
const MIN_THRESHOLD: Duration = Duration::from_millis(1);
const MAX_THRESHOLD: Duration = Duration::from_secs(60);
const MAX_SERVER_NAME_BYTES: usize = 63;
const MAX_PASSWORD_BYTES: usize = 200;
const MAX_CONNECTIONS: u32 = 1_000_000;
const MIN_LINES_PER_SECOND: f64 = 0.1;
const MAX_REGISTRATIONS_PER_HOUR: u32 = 10_000;
const MAX_LINES_PER_SECOND: f64 = 1_000_000.0;

/// The checked configuration of the process.
#[derive(Debug)]
pub struct Config {
    pub(crate) listen: SocketAddr,
    /// Where to serve TLS if there is a certificate.
    pub(crate) tls_listen: SocketAddr,
    pub(crate) telemetry: Option<SocketAddr>,
    pub(crate) console: Option<SocketAddr>,
    pub(crate) workers: Option<NonZeroUsize>,
    pub(crate) blocking_threshold: Duration,
    pub(crate) data_dir: Option<PathBuf>,
    pub(crate) server: ServerConfig,
}

/// The configuration of the server itself.
#[derive(Debug)]
pub(crate) struct ServerConfig {
    pub(crate) name: Arc<str>,
    pub(crate) password: Option<String>,
    pub(crate) operator: Option<(String, String)>,
    pub(crate) motd: Option<Vec<Box<[u8]>>>,
    pub(crate) certificate: Option<CertificateSource>,
    pub(crate) max_connections: u32,
    pub(crate) lines_per_second: Option<f64>,
    pub(crate) client_limits: ClientLimits,
    pub(crate) account_policy: AccountPolicy,
    pub(crate) injections: Injections,
    pub(crate) started_at: SystemTime,
}

impl TryFrom<Args> for Config {
    type Error = ConfigError;

    /// Reads the file that `--config` names and checks every setting. Reports
    /// the first one that is wrong.
    fn try_from(args: Args) -> Result<Self, ConfigError> {
        let (args, origins) = config_file::merge(args)?;
        Self::from_merged(args).map_err(|error| ConfigError { place: origins.place_of(error.flag), ..error })
    }
}

impl Config {
    /// Returns the same configuration with other limits on each client.
    #[must_use]
    pub fn with_client_limits(mut self, limits: ClientLimits) -> Self {
        self.server.client_limits = limits;
        self
    }

    fn from_merged(args: Args) -> Result<Self, ConfigError> {
        let or = |given: Option<String>, default: &str| given.unwrap_or_else(|| default.to_owned());
        let certificate =
            CertificateSource::from_flags(args.tls_certificate, args.tls_key, args.tls_self_signed)?;
        if certificate.is_none() {
            let needs = "needs TLS: add --tls-certificate and --tls-key, or --tls-self-signed";
            if args.tls_listen.is_some() {
                return invalid("--tls-listen", needs);
            }
            if args.inject.iter().any(|it| it.starts_with(InjectionSite::Certificate.name())) {
                return invalid("--inject", format!("`certificate` {needs}"));
            }
        }
        Ok(Self {
            listen: address("--listen", &or(args.listen, "127.0.0.1:6667"))?,
            tls_listen: address("--tls-listen", &or(args.tls_listen, "127.0.0.1:6697"))?,
            telemetry: match &*or(args.telemetry, "127.0.0.1:9464") {
                "off" => None,
                text => Some(address("--telemetry", text)?),
            },
            console: args.console.as_deref().map(console).transpose()?,
            workers: args.workers.as_deref().map(workers).transpose()?,
            blocking_threshold: threshold(&or(args.threshold, "10ms"))?,
            data_dir: args.data_dir.map(PathBuf::from),
            server: ServerConfig {
                name: server_name(&or(args.server_name, "chat.localhost"))?,
                password: args.password.map(|it| password("--password", it)).transpose()?,
                operator: args.oper.map(operator).transpose()?,
                motd: args.motd.as_deref().map(motd).transpose()?,
                certificate,
                max_connections: max_connections(&or(args.max_connections, "10000"))?,
                lines_per_second: flood_limit(&or(args.flood_limit, "50/s"))?,
                client_limits: ClientLimits::default(),
                account_policy: AccountPolicy {
                    sasl: sasl_use(&or(args.sasl, "optional"))?,
                    registrations_per_hour: account_registration(&or(args.account_registration, "5/h"))?,
                    allows_plain_text: sasl_without_tls(&or(args.sasl_without_tls, "loopback"))?,
                },
                injections: Injections::parse(args.inject.iter().map(String::as_str))
                    .map_err(injection_error)?,
                started_at: SystemTime::now(),
            },
        })
    }
}

fn invalid<T>(flag: &'static str, reason: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError::new(flag, reason))
}

fn address(flag: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    let Ok(address) = text.parse() else {
        return invalid(flag, format!("`{text}` must be an IP address and a port, such as 127.0.0.1:6667"));
    };
    Ok(address)
}

fn console(text: &str) -> Result<SocketAddr, ConfigError> {
    if !cfg!(all(feature = "console", tokio_unstable)) {
        return invalid("--console", "needs a build with the feature `console` and `--cfg tokio_unstable`");
    }
    address("--console", text)
}

fn workers(text: &str) -> Result<NonZeroUsize, ConfigError> {
    match text.parse::<NonZeroUsize>() {
        Ok(workers) if workers.get() <= MAX_WORKERS => Ok(workers),
        _ => invalid("--workers", format!("`{text}` must be a number from 1 to {MAX_WORKERS}")),
    }
}

fn threshold(text: &str) -> Result<Duration, ConfigError> {
    match humantime::parse_duration(text) {
        Ok(threshold) if (MIN_THRESHOLD..=MAX_THRESHOLD).contains(&threshold) => Ok(threshold),
        _ => invalid("--threshold", format!("`{text}` must be a duration from 1ms to 60s, such as 10ms")),
    }
}

fn server_name(text: &str) -> Result<Arc<str>, ConfigError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    if text.is_empty() || text.len() > MAX_SERVER_NAME_BYTES || !plain || text.starts_with(['-', '.']) {
        let allowed = "letters, digits, dots and dashes, such as chat.example.org";
        return invalid("--server-name", format!("`{text}` must be 1 to {MAX_SERVER_NAME_BYTES} {allowed}"));
    }
    Ok(text.into())
}

fn password(flag: &'static str, text: String) -> Result<String, ConfigError> {
    // The error must not repeat the password or a part of it.
    if text.is_empty() || text.len() > MAX_PASSWORD_BYTES || text.contains(|it: char| it.is_control()) {
        return invalid(
            flag,
            format!("the password must be 1 to {MAX_PASSWORD_BYTES} bytes without control characters"),
        );
    }
    Ok(text)
}

fn operator(text: String) -> Result<(String, String), ConfigError> {
    let Some((name, secret)) =
        text.split_once(':').filter(|(name, _)| !name.is_empty() && !name.contains(' '))
    else {
        return invalid("--oper", "must be NAME:PASSWORD, where the name has no space, such as admin:secret");
    };
    Ok((name.to_owned(), password("--oper", secret.to_owned())?))
}

fn motd(path: &str) -> Result<Vec<Box<[u8]>>, ConfigError> {
    match bounded_file::read(path, MAX_MOTD_BYTES) {
        Ok(bytes) => {
            let lines = bytes.strip_suffix(b"\n").unwrap_or(&bytes).split(|&byte| byte == b'\n');
            let clean =
                |line: &[u8]| line.iter().copied().filter(|byte| !matches!(byte, b'\r' | 0)).collect();
            Ok(lines.map(clean).collect())
        }
        Err(error) => invalid("--motd", format!("`{path}` must be a readable file: {error}")),
    }
}

fn max_connections(text: &str) -> Result<u32, ConfigError> {
    match text.parse() {
        Ok(count @ 1..=MAX_CONNECTIONS) => Ok(count),
        _ => invalid("--max-connections", format!("`{text}` must be a number from 1 to {MAX_CONNECTIONS}")),
    }
}

fn flood_limit(text: &str) -> Result<Option<f64>, ConfigError> {
    if text == "off" {
        return Ok(None);
    }
    match text.strip_suffix("/s").and_then(|number| number.parse::<f64>().ok()) {
        Some(rate) if (MIN_LINES_PER_SECOND..=MAX_LINES_PER_SECOND).contains(&rate) => Ok(Some(rate)),
        _ => invalid(
            "--flood-limit",
            format!(
                "`{text}` must be a rate from {MIN_LINES_PER_SECOND}/s to {MAX_LINES_PER_SECOND}/s, or off"
            ),
        ),
    }
}

fn sasl_use(text: &str) -> Result<SaslUse, ConfigError> {
    match text {
        "off" => Ok(SaslUse::Off),
        "optional" => Ok(SaslUse::Optional),
        "required" => Ok(SaslUse::Required),
        _ => invalid("--sasl", format!("`{text}` must be off, optional or required")),
    }
}

fn sasl_without_tls(text: &str) -> Result<bool, ConfigError> {
    match text {
        "loopback" => Ok(false),
        "anywhere" => Ok(true),
        _ => invalid("--sasl-without-tls", format!("`{text}` must be loopback or anywhere")),
    }
}

fn account_registration(text: &str) -> Result<Option<f64>, ConfigError> {
    if text == "off" {
        return Ok(None);
    }
    match text.strip_suffix("/h").and_then(|number| number.parse::<u32>().ok()) {
        Some(rate @ 1..=MAX_REGISTRATIONS_PER_HOUR) => Ok(Some(rate.into())),
        _ => invalid(
            "--account-registration",
            format!("`{text}` must be a rate from 1/h to {MAX_REGISTRATIONS_PER_HOUR}/h, or off"),
        ),
    }
}

fn injection_error(error: SpecError) -> ConfigError {
    ConfigError::new("--inject", error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parse(flags: &[&str]) -> Result<Config, ConfigError> {
        let args = Args::try_parse_from([&["chat-server"], flags].concat()).expect("flags that exist");
        args.try_into()
    }

    #[test]
    fn defaults_are_as_documented() {
        let config = parse(&[]).expect("valid");
        assert_eq!(config.listen.to_string(), "127.0.0.1:6667");
        assert_eq!(config.telemetry.map(|it| it.to_string()).as_deref(), Some("127.0.0.1:9464"));
        assert_eq!(config.blocking_threshold, Duration::from_millis(10));
        assert_eq!((config.server.max_connections, config.server.lines_per_second), (10_000, Some(50.0)));
        assert_eq!(config.server.injections, Injections::default());
    }

    #[test]
    fn telemetry_and_flood_limit_can_be_off() {
        let config = parse(&["--telemetry", "off", "--flood-limit", "off"]).expect("valid");
        assert_eq!((config.telemetry, config.server.lines_per_second), (None, None));
    }

    #[test]
    fn each_wrong_flag_is_reported_with_what_is_right() {
        for (flag, value, right) in [
            ("--listen", "localhost", "such as 127.0.0.1:6667"),
            ("--telemetry", "on", "IP address and a port"),
            ("--workers", "0", "from 1 to 1024"),
            ("--threshold", "10", "such as 10ms"),
            ("--server-name", "a b", "letters, digits"),
            ("--password", "", "1 to 200 bytes"),
            ("--oper", "admin", "such as admin:secret"),
            ("--motd", "no/such/file", "a readable file"),
            ("--max-connections", "-1", "from 1 to 1000000"),
            ("--flood-limit", "fast", "or off"),
            ("--inject", "downstream", "channel, child, upstream, certificate, chathistory or all"),
            ("--inject", "certificate", "`certificate` needs TLS: add --tls-certificate"),
            ("--tls-listen", "127.0.0.1:6697", "add --tls-certificate and --tls-key, or --tls-self-signed"),
            ("--tls-certificate", "a.pem", "needs --tls-key"),
            ("--tls-key", "a.pem", "needs --tls-certificate"),
            ("--sasl", "on", "must be off, optional or required"),
            ("--sasl-without-tls", "off", "must be loopback or anywhere"),
            ("--account-registration", "0/h", "from 1/h to 10000/h, or off"),
        ] {
            let error = parse(&[&format!("{flag}={value}")]).expect_err(flag).to_string();
            assert!(error.starts_with(flag) && error.contains(right) && !error.contains('\n'), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn files_without_an_end_or_a_writer_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let (fifo, large) = (directory.path().join("fifo"), directory.path().join("large"));
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
        assert!(made.success());
        std::fs::write(&large, vec![b'x'; MAX_MOTD_BYTES as usize + 1]).expect("written");
        let (fifo, large) = (fifo.to_str().expect("UTF-8"), large.to_str().expect("UTF-8"));
        for (path, reason) in [
            ("/dev/zero", "it is not a regular file"),
            (fifo, "it is not a regular file"),
            (directory.path().to_str().expect("UTF-8"), "it is not a regular file"),
            (large, "it has more than 65536 bytes"),
        ] {
            for flag in ["--motd", "--config", "--tls-certificate"] {
                let key: &[&str] = if flag == "--tls-certificate" { &["--tls-key", "k.pem"] } else { &[] };
                let error = parse(&[&[flag, path], key].concat()).expect_err(path).to_string();
                assert!(error.starts_with(flag) && error.contains(reason), "{error}");
            }
        }
    }

    #[test]
    fn errors_do_not_repeat_secrets() {
        let error = parse(&["--oper", "geheim"]).expect_err("no colon").to_string();
        assert!(!error.contains("geheim"), "{error}");
    }

    fn with_file(text: &str, flags: &[&str]) -> Result<Config, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("chat.toml");
        std::fs::write(&path, text).expect("written");
        let path = path.to_str().expect("a UTF-8 path").to_owned();
        let args =
            Args::try_parse_from([&["chat-server", "--config", &path], flags].concat()).expect("flags");
        Config::try_from(args).map_err(|error| error.to_string().replace(&path, "chat.toml"))
    }

    #[test]
    fn a_flag_overrides_the_file() {
        let text = "threshold = \"20ms\"\nworkers = 3\ninject = [\"sleep\", \"lock=5ms\"]\nmax-connections = 1_000\n";
        let config = with_file(text, &["--workers", "2"]).expect("valid");
        assert_eq!(config.blocking_threshold, std::time::Duration::from_millis(20));
        assert_eq!(config.workers.map(|it| it.get()), Some(2));
        assert_eq!(config.server.max_connections, 1_000);
        assert!(config.server.injections.at(crate::inject::spec::InjectionSite::Lock).is_some());
        let config = with_file(text, &["--inject", "filter"]).expect("valid");
        assert!(config.server.injections.at(crate::inject::spec::InjectionSite::Lock).is_none());
    }

    #[test]
    fn tls_can_be_set_by_the_file() {
        let config = with_file("tls-self-signed = true\ntls-listen = \"0.0.0.0:7000\"", &[]).expect("valid");
        assert!(matches!(config.server.certificate, Some(CertificateSource::SelfSigned)));
        assert_eq!(config.tls_listen.to_string(), "0.0.0.0:7000");
        let config = with_file("tls-self-signed = false", &[]).expect("valid");
        assert!(config.server.certificate.is_none());
        assert_eq!(config.tls_listen.to_string(), "127.0.0.1:6697");
    }

    #[test]
    fn each_wrong_setting_is_reported_with_its_line() {
        for (text, sentence) in [
            ("\nlisen = \"x\"", "--config: `chat.toml`, line 2: unknown setting `lisen`, must be listen"),
            ("a = 1\na = 2", "--config: `chat.toml`, line 2, is not TOML: "),
            ("# one\nthreshold = \"soon\"", "chat.toml, line 2: threshold: `soon` must be a duration"),
            ("inject = [\"slep\"]", "chat.toml, line 1: inject: unknown injection site `slep`"),
            ("workers = 0x10", "line 1: `workers` must be a string or an integer"),
            ("workers = true", "line 1: `workers` must be a string or an integer"),
            ("inject = [1.5]", "line 1: `inject` must be a string or a list of strings"),
            ("[listen]\nport = 1", "line 1: `listen` must be"),
            ("tls-self-signed = 1", "line 1: `tls-self-signed` must be true or false"),
            ("\ntls-key = \"a.pem\"", "chat.toml, line 2: tls-key: needs --tls-certificate"),
        ] {
            let error = with_file(text, &[]).expect_err(text);
            assert!(error.contains(sentence) && error.lines().count() == 1, "{text}: {error}");
        }
        let error = with_file("password = \"geheim\"\noper = \"geheim\"", &[]).expect_err("no colon");
        assert!(!error.contains("geheim"), "{error}");
        let error = with_file("password = \"geheim", &[]).expect_err("no closing quote");
        assert!(!error.contains("geheim"), "{error}");
    }
}
