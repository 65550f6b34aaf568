//! The accounts on disk: an embedded database in one file.
//!
//! The file is open only while it is read or changed. So the command line can
//! change it while a server runs, and no error on disk outlives the call.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase as _,
    ReadableTable as _, ReadableTableMetadata as _, TableDefinition, TableError,
};

use crate::irc::names::{NameKey, is_nick};
use crate::services::secret::PhcHash;

type Row<'a> = (&'a [u8], &'a [u8], u64);

/// Accounts by the key of their name: the name, the hash of the password, and
/// when the account was created (milliseconds of Unix time).
const ACCOUNTS: TableDefinition<'_, &[u8], Row<'_>> = TableDefinition::new("accounts");
/// Maximum accounts. The server holds all of them in memory, about 300 bytes
/// each.
pub(crate) const MAX_ACCOUNTS: u64 = 10_000;
/// Size of the page cache. The database's default is 1 GB.
const CACHE_BYTES: usize = 1 << 20;
/// Maximum wait for another process that has the file open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const OPEN_RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// A file that was written this recently may change again without a later time
/// of change, because file systems keep that time in steps.
const STEADY_AFTER: Duration = Duration::from_millis(100);

/// An account, as the file holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredAccount {
    pub(crate) name: Box<[u8]>,
    pub(crate) hash: PhcHash,
    pub(crate) created: SystemTime,
}

/// The result of adding an account.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    Created,
    /// The name is taken. The file is unchanged.
    Exists,
    /// The store has [`MAX_ACCOUNTS`]. The file is unchanged.
    Full,
}

/// Tells versions of the file apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileStamp {
    /// There is no file.
    Missing,
    Version {
        changed: SystemTime,
        bytes: u64,
    },
}

/// The file. Every call waits for the disk, so call it off the event loop.
#[derive(Debug, Clone)]
pub(crate) struct AccountStore {
    path: PathBuf,
    max_accounts: u64,
}

impl AccountStore {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { path: directory.join("accounts.redb"), max_accounts: MAX_ACCOUNTS }
    }

    /// Returns the version of the file.
    pub(crate) fn stamp(&self) -> io::Result<FileStamp> {
        match fs::metadata(&self.path) {
            Ok(file) => Ok(FileStamp::Version { changed: file.modified()?, bytes: file.len() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(FileStamp::Missing),
            Err(error) => Err(error),
        }
    }

    /// Reads all accounts. Returns the version of the file too, unless it may
    /// change unnoticed.
    pub(crate) fn load(&self) -> anyhow::Result<(Vec<StoredAccount>, Option<FileStamp>)> {
        let stamp = self.stamp().with_context(|| format!("`{}` must be readable", self.path.display()))?;
        let is_steady = match stamp {
            FileStamp::Missing => return Ok((Vec::new(), Some(stamp))),
            FileStamp::Version { changed, .. } => changed.elapsed().is_ok_and(|age| age >= STEADY_AFTER),
        };
        let accounts = self.guarded(|| read_all(&self.begin_read()?))?;
        Ok((accounts, is_steady.then_some(stamp)))
    }

    /// Adds an account. It is on disk when this returns.
    pub(crate) fn add(&self, account: &StoredAccount) -> anyhow::Result<Added> {
        let key = NameKey::new(&account.name);
        self.guarded(|| {
            let database = self.open_to_write()?;
            let transaction = database.begin_write()?;
            {
                let mut accounts = transaction.open_table(ACCOUNTS)?;
                if accounts.get(key.as_bytes())?.is_some() {
                    return Ok(Added::Exists);
                }
                if accounts.len()? >= self.max_accounts {
                    return Ok(Added::Full);
                }
                let created = account.created.duration_since(UNIX_EPOCH).unwrap_or_default();
                let created = u64::try_from(created.as_millis()).unwrap_or(u64::MAX);
                let row = (&*account.name, account.hash.as_str().as_bytes(), created);
                accounts.insert(key.as_bytes(), row)?;
            }
            // The default durability waits until the disk has the data.
            transaction.commit()?;
            Ok(Added::Created)
        })
    }

    /// Removes an account. Returns whether it existed.
    pub(crate) fn remove(&self, name: &[u8]) -> anyhow::Result<bool> {
        if self.stamp().is_ok_and(|stamp| stamp == FileStamp::Missing) {
            return Ok(false);
        }
        self.guarded(|| {
            let database = self.open_to_write()?;
            let transaction = database.begin_write()?;
            let existed = {
                let mut accounts = transaction.open_table(ACCOUNTS)?;
                accounts.remove(NameKey::new(name).as_bytes())?.is_some()
            };
            transaction.commit()?;
            Ok(existed)
        })
    }

    fn open_to_write(&self) -> Result<Database, redb::Error> {
        Ok(retry_while_open(|| Builder::new().set_cache_size(CACHE_BYTES).create(&self.path))?)
    }

    fn begin_read(&self) -> Result<ReadTransaction, redb::Error> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let opened: Result<ReadOnlyDatabase, _> = retry_while_open(|| builder.open_read_only(&self.path));
        match opened {
            Ok(database) => Ok(database.begin_read()?),
            // The process that wrote last was killed.
            Err(DatabaseError::RepairAborted) => {
                Ok(retry_while_open(|| builder.open(&self.path))?.begin_read()?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Runs `work` and explains its error. A damaged file may make the database
    /// panic.
    fn guarded<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> anyhow::Result<T> {
        let result = catch_unwind(AssertUnwindSafe(work));
        result.unwrap_or_else(|_| Err(redb::Error::Corrupted("the file is damaged".into()))).map_err(
            |error| {
                let needed = needed_to_open(&error);
                anyhow!(error).context(format!("`{}` {needed}", self.path.display()))
            },
        )
    }
}

/// Reads all accounts that are valid. What the file says is not trusted.
fn read_all(transaction: &ReadTransaction) -> Result<Vec<StoredAccount>, redb::Error> {
    let table = match transaction.open_table(ACCOUNTS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut accounts = Vec::new();
    for entry in table.iter()?.take(MAX_ACCOUNTS as usize) {
        let (_, row) = entry?;
        let (name, hash, created) = row.value();
        let created = UNIX_EPOCH.checked_add(Duration::from_millis(created)).unwrap_or(UNIX_EPOCH);
        match PhcHash::from_stored(hash) {
            Some(hash) if is_nick(name) => accounts.push(StoredAccount { name: name.into(), hash, created }),
            _ => tracing::warn!("the account {:?} is not valid", String::from_utf8_lossy(name)),
        }
    }
    Ok(accounts)
}

/// Opens a database. Waits while another process has it open.
fn retry_while_open<T>(open: impl Fn() -> Result<T, DatabaseError>) -> Result<T, DatabaseError> {
    let started = Instant::now();
    loop {
        match open() {
            Err(DatabaseError::DatabaseAlreadyOpen) if started.elapsed() < OPEN_TIMEOUT => {
                thread::sleep(OPEN_RETRY_INTERVAL);
            }
            other => return other,
        }
    }
}

/// Returns what the file or its disk needs.
fn needed_to_open(error: &redb::Error) -> &'static str {
    match error {
        redb::Error::DatabaseAlreadyOpen => "must not be open in another program",
        redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
            "must be readable and writable, on a disk with free space"
        }
        redb::Error::PreviousIo => "must be on a disk with free space",
        _ => "must be an accounts file of this server",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, hash: &PhcHash) -> StoredAccount {
        let created = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        StoredAccount { name: name.as_bytes().into(), hash: hash.clone(), created }
    }

    #[test]
    fn accounts_come_back_and_names_follow_the_case_mapping() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = AccountStore { max_accounts: 2, ..AccountStore::new(directory.path()) };
        assert_eq!(store.load().expect("no file"), (Vec::new(), Some(FileStamp::Missing)));
        assert!(!store.remove(b"ada").expect("no file"));
        assert_eq!(store.stamp().expect("read"), FileStamp::Missing, "nothing made a file");
        let hash = PhcHash::new(b"open").expect("hashed");
        let (ada, bob) = (account("Ada[x]", &hash), account("bob", &hash));
        assert_eq!(store.add(&ada).expect("added"), Added::Created);
        assert_eq!(store.add(&account("aDA{X}", &hash)).expect("read"), Added::Exists);
        assert_eq!(store.add(&bob).expect("added"), Added::Created);
        assert_eq!(store.add(&account("eve", &hash)).expect("read"), Added::Full);
        assert_eq!(store.load().expect("read").0, [ada, bob.clone()]);
        assert!(store.remove(b"ADA[X]").expect("removed"));
        assert!(!store.remove(b"ada[x]").expect("read"));
        assert_eq!(store.load().expect("read").0, [bob]);
    }

    #[test]
    fn a_file_that_has_just_changed_has_no_version() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = AccountStore::new(directory.path());
        let hash = PhcHash::new(b"open").expect("hashed");
        store.add(&account("ada", &hash)).expect("added");
        let set_time = |time| {
            let file = fs::File::options().write(true).open(&store.path).expect("opened");
            file.set_modified(time).expect("set");
        };
        set_time(SystemTime::now() + Duration::from_secs(60));
        assert_eq!(store.load().expect("read").1, None);
        set_time(SystemTime::now() - Duration::from_secs(60));
        assert_eq!(store.load().expect("read").1, store.stamp().ok());
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = AccountStore::new(directory.path());
        fs::write(&store.path, b"something else").expect("written");
        for error in [
            store.load().map(drop).expect_err("not a store"),
            store
                .add(&account("ada", &PhcHash::new(b"open").expect("hashed")))
                .map(drop)
                .expect_err("the same"),
        ] {
            assert!(format!("{error:#}").contains("must be an accounts file of this server"), "{error:#}");
        }
    }
}
