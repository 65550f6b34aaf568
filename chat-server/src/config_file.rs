//! `--config FILE`: settings in TOML, named like the flags.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::args::Args;
use crate::bounded_file;
use crate::config_error::ConfigError;

/// Maximum size of a configuration file.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// The names of the settings, as error texts list them.
const SETTING_NAMES: &str = "listen, tls-listen, tls-certificate, tls-key, tls-self-signed, telemetry, console, workers, \
    threshold, server-name, password, oper, motd, data-dir, max-connections, flood-limit, sasl, sasl-without-tls, \
    account-registration or inject";

/// The line of the file from which each setting came. Errors name it.
#[derive(Debug, Default)]
pub(crate) struct SettingOrigins {
    path: String,
    lines: BTreeMap<String, usize>,
}

impl SettingOrigins {
    /// Returns the place of a setting in the file, if it came from there.
    pub(crate) fn place_of(&self, flag: &str) -> Option<String> {
        let line = self.lines.get(flag.trim_start_matches('-'))?;
        Some(format!("{}, line {line}", self.path))
    }
}

/// Copies the settings of the file into `args`. A flag overrides the file.
pub(crate) fn merge(mut args: Args) -> Result<(Args, SettingOrigins), ConfigError> {
    let Some(path) = args.config.take() else { return Ok((args, SettingOrigins::default())) };
    let invalid = |reason: String| Err(ConfigError::new("--config", reason));
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) => return invalid(format!("`{path}` must be a readable text file: {error}")),
    };
    let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count();
    let table = match DeTable::parse(&text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            // The error's own text shows the line, which may hold a password.
            let (line, reason) = (line_of(error.span().map_or(0, |span| span.start)), error.message());
            return invalid(format!("`{path}`, line {line}, is not TOML: {}", reason.replace('\n', ", ")));
        }
    };
    let mut origins = SettingOrigins { path: path.clone(), lines: BTreeMap::new() };
    for (key, value) in table {
        let (line, name) = (line_of(key.span().start), key.into_inner());
        match set(&mut args, &name, value.get_ref()) {
            Ok(true) => drop(origins.lines.insert(name.into_owned(), line)),
            Ok(false) => {}
            Err(reason) => return invalid(format!("`{path}`, line {line}: {reason}")),
        }
    }
    Ok((args, origins))
}

fn read(path: &str) -> std::io::Result<String> {
    String::from_utf8(bounded_file::read(path, MAX_FILE_BYTES)?).map_err(std::io::Error::other)
}

/// Sets one setting unless a flag has set it. Returns whether it did.
fn set(args: &mut Args, name: &str, value: &DeValue<'_>) -> Result<bool, String> {
    if name == "inject" {
        let texts = texts_of(value).ok_or("`inject` must be a string or a list of strings")?;
        let is_unset = args.inject.is_empty();
        if is_unset {
            args.inject = texts;
        }
        return Ok(is_unset);
    }
    if name == "tls-self-signed" {
        let is_unset = !args.tls_self_signed;
        args.tls_self_signed |= value.as_bool().ok_or("`tls-self-signed` must be true or false")?;
        return Ok(is_unset);
    }
    let field = match name {
        "listen" => &mut args.listen,
        "tls-listen" => &mut args.tls_listen,
        "tls-certificate" => &mut args.tls_certificate,
        "tls-key" => &mut args.tls_key,
        "telemetry" => &mut args.telemetry,
        "console" => &mut args.console,
        "workers" => &mut args.workers,
        "threshold" => &mut args.threshold,
        "server-name" => &mut args.server_name,
        "password" => &mut args.password,
        "oper" => &mut args.oper,
        "motd" => &mut args.motd,
        "data-dir" => &mut args.data_dir,
        "max-connections" => &mut args.max_connections,
        "sasl" => &mut args.sasl,
        "sasl-without-tls" => &mut args.sasl_without_tls,
        "account-registration" => &mut args.account_registration,
        "flood-limit" => &mut args.flood_limit,
        _ => return Err(format!("unknown setting `{name}`, must be {SETTING_NAMES}")),
    };
    let text = text_of(value).ok_or_else(|| format!("`{name}` must be a string or an integer"))?;
    let is_unset = field.is_none();
    if is_unset {
        *field = Some(text);
    }
    Ok(is_unset)
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        _ => None,
    }
}

fn texts_of(value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::Array(values) => values.iter().map(|value| text_of(value.get_ref())).collect(),
        one => text_of(one).map(|text| vec![text]),
    }
}
