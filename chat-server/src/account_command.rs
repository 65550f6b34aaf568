//! `chat-server account`: manages the accounts in a data directory.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, bail};

use crate::args::AccountCommand;
use crate::data_dir::DataDir;
use crate::services::account_store::{AccountStore, Added, MAX_ACCOUNTS, StoredAccount};
use crate::services::accounts::{MAX_PASSWORD_BYTES, check_new};
use crate::services::secret::PhcHash;

/// Runs a subcommand.
///
/// # Errors
///
/// Returns one sentence about the name, password or directory that is wrong.
pub(crate) fn run(command: &AccountCommand, directory: Option<&Path>) -> anyhow::Result<()> {
    let Some(directory) = directory else {
        bail!("account: name the directory of the server with --data-dir")
    };
    let store = AccountStore::new(DataDir::open(Some(directory))?.path());
    match command {
        AccountCommand::Add { name } => add(&store, name),
        AccountCommand::List => list(&store),
        AccountCommand::Remove { name } => {
            anyhow::ensure!(store.remove(name.as_bytes())?, "account remove: there is no account `{name}`");
            Ok(())
        }
    }
}

fn add(store: &AccountStore, name: &str) -> anyhow::Result<()> {
    let password = read_password()?;
    if let Err(invalid) = check_new(name.as_bytes(), &password, 1) {
        bail!("account add: {}", invalid.needed());
    }
    let (name_bytes, hash) = (name.as_bytes().into(), PhcHash::new(&password)?);
    match store.add(&StoredAccount { name: name_bytes, hash, created: SystemTime::now() })? {
        Added::Created => Ok(()),
        Added::Exists => bail!("account add: the account `{name}` exists already, remove it first"),
        Added::Full => bail!("account add: there are {MAX_ACCOUNTS} accounts already, remove one first"),
    }
}

/// Reads the first line of stdin.
fn read_password() -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    // One byte more than is valid, and the line's ending.
    let max_bytes = MAX_PASSWORD_BYTES as u64 + 3;
    io::stdin()
        .lock()
        .take(max_bytes)
        .read_until(b'\n', &mut line)
        .context("account add: cannot read stdin")?;
    let password = line.strip_suffix(b"\n").unwrap_or(&line);
    Ok(password.strip_suffix(b"\r").unwrap_or(password).to_vec())
}

fn list(store: &AccountStore) -> anyhow::Result<()> {
    let (mut accounts, _) = store.load()?;
    accounts.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = io::stdout().lock();
    for StoredAccount { name, created, .. } in accounts {
        let created = humantime::format_rfc3339_seconds(created);
        // The reader of stdout may be gone.
        if writeln!(out, "{} {created}", String::from_utf8_lossy(&name)).is_err() {
            break;
        }
    }
    Ok(())
}
