//! Accounts: logs clients in and adds the accounts that they register.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::irc::names::{NameKey, is_nick};
use crate::irc::sasl::Credentials;
use crate::metrics::{LoginResult, Metrics, RegistrationResult};
use crate::services::account_store::{AccountStore, Added, FileStamp, MAX_ACCOUNTS, StoredAccount};
use crate::services::password::PasswordVerifier;
use crate::services::registration_limit::RegistrationLimit;
use crate::services::secret::Secret;

/// Minimum bytes of a password that a client chooses.
pub(crate) const MIN_PASSWORD_BYTES: usize = 6;
/// Maximum bytes of an account's password.
pub(crate) const MAX_PASSWORD_BYTES: usize = 600;

/// What the server knows about accounts. The file may be newer.
#[derive(Debug)]
pub(crate) struct Accounts {
    store: AccountStore,
    known: Mutex<KnownAccounts>,
    /// Held while the file is read or written.
    file_access: tokio::sync::Mutex<()>,
    verifier: Arc<PasswordVerifier>,
    limit: RegistrationLimit,
    metrics: Metrics,
}

/// The accounts that were in the file.
#[derive(Debug)]
struct KnownAccounts {
    by_name: HashMap<NameKey, Account>,
    /// The version of the file. `None` if it may have changed.
    stamp: Option<FileStamp>,
}

#[derive(Debug, Clone)]
struct Account {
    /// The name, in the spelling of the registration.
    name: Box<[u8]>,
    secret: Arc<Secret>,
}

/// Why a name or a password cannot be that of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidAccount {
    Name,
    ShortPassword { min_bytes: usize },
    Password,
}

/// The result of a registration.
#[derive(Debug)]
pub(crate) enum Registration {
    /// The account exists now.
    Created(Box<[u8]>),
    /// The name is taken.
    Exists,
    /// Too many registrations came from the address.
    Limited,
    /// The disk refused the account, or the store is full.
    Failed,
}

impl Accounts {
    /// Reads the file in `directory`.
    ///
    /// # Errors
    ///
    /// Returns an error if the file is damaged or cannot be read.
    pub(crate) async fn open(
        directory: &Path,
        verifier: Arc<PasswordVerifier>,
        limit: RegistrationLimit,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        let known = Mutex::new(KnownAccounts { by_name: HashMap::new(), stamp: None });
        let store = AccountStore::new(directory);
        let accounts = Self { store, known, file_access: Default::default(), verifier, limit, metrics };
        accounts.load().await?;
        Ok(accounts)
    }

    /// Returns the account's name if the password is right. With `None`, the
    /// password or the name is wrong.
    pub(crate) async fn log_in(&self, credentials: &Credentials, from: IpAddr) -> Option<Box<[u8]>> {
        self.refresh().await;
        let account = self.find(&credentials.account);
        let (result, name) = match account {
            None => (LoginResult::UnknownAccount, None),
            Some(account) if self.verifier.verify(&account.secret, &credentials.password, from).await => {
                (LoginResult::Accepted, Some(account.name))
            }
            Some(_) => (LoginResult::WrongPassword, None),
        };
        self.metrics.count_login(result);
        name
    }

    /// Adds an account. The caller has checked its name and password.
    pub(crate) async fn register(&self, credentials: Credentials, from: IpAddr) -> Registration {
        let registration = self.try_register(credentials, from).await.unwrap_or_else(|error| {
            tracing::warn!("cannot add an account: {error:#}");
            Registration::Failed
        });
        self.metrics.count_registration(match registration {
            Registration::Created(_) => RegistrationResult::Created,
            Registration::Exists => RegistrationResult::Exists,
            Registration::Limited => RegistrationResult::Limited,
            Registration::Failed => RegistrationResult::Failed,
        });
        registration
    }

    async fn try_register(
        &self,
        Credentials { account: name, password }: Credentials,
        from: IpAddr,
    ) -> anyhow::Result<Registration> {
        self.refresh().await;
        if self.find(&name).is_some() {
            return Ok(Registration::Exists);
        }
        anyhow::ensure!(
            self.known().by_name.len() < MAX_ACCOUNTS as usize,
            "there are {MAX_ACCOUNTS} already"
        );
        if !self.limit.take(from) {
            return Ok(Registration::Limited);
        }
        let secret = Arc::new(self.verifier.hash(&password, from).await?);
        let stored =
            StoredAccount { name: name.clone(), hash: secret.hash().clone(), created: SystemTime::now() };
        let _file_access = self.file_access.lock().await;
        let store = self.store.clone();
        match loopscope::spawn_blocking("account-add", move || store.add(&stored)).await?? {
            Added::Created => {
                let mut known = self.known();
                known.by_name.insert(NameKey::new(&name), Account { name: name.clone(), secret });
                known.stamp = None;
                Ok(Registration::Created(name))
            }
            Added::Exists => Ok(Registration::Exists),
            Added::Full => anyhow::bail!("there are {MAX_ACCOUNTS} already"),
        }
    }

    /// Reads the file again if the command line or a registration has changed
    /// it. If that fails, what was read before stays valid.
    async fn refresh(&self) {
        if self.is_current().await {
            return;
        }
        let _file_access = self.file_access.lock().await;
        // Another client may have read it while this one waited.
        if self.is_current().await {
            return;
        }
        if let Err(error) = self.load().await {
            tracing::warn!("cannot read the accounts: {error:#}");
        }
    }

    async fn is_current(&self) -> bool {
        let store = self.store.clone();
        let stamp = loopscope::spawn_blocking("account-stamp", move || store.stamp()).await;
        // A file that cannot be examined cannot be read either.
        !matches!(stamp, Ok(Ok(stamp)) if self.known().stamp != Some(stamp))
    }

    /// Reads the file. Nobody else accesses it, or its caller has the lock.
    async fn load(&self) -> anyhow::Result<()> {
        let store = self.store.clone();
        let (accounts, stamp) = loopscope::spawn_blocking("account-load", move || store.load()).await??;
        let mut known = self.known();
        let mut former = std::mem::take(&mut known.by_name);
        known.by_name.reserve(accounts.len());
        for StoredAccount { name, hash, .. } in accounts {
            let key = NameKey::new(&name);
            // An account that did not change keeps what its quick check has
            // learned.
            let account = former
                .remove(&key)
                .filter(|account| *account.secret.hash() == hash)
                .unwrap_or_else(|| Account { name, secret: Arc::new(Secret::from_hash(hash)) });
            known.by_name.insert(key, account);
        }
        known.stamp = stamp;
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Option<Account> {
        self.known().by_name.get(&NameKey::new(name)).cloned()
    }

    fn known(&self) -> MutexGuard<'_, KnownAccounts> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks the name and password of a new account.
pub(crate) fn check_new(name: &[u8], password: &[u8], min_bytes: usize) -> Result<(), InvalidAccount> {
    if !is_nick(name) {
        return Err(InvalidAccount::Name);
    }
    let text = std::str::from_utf8(password).map_err(|_| InvalidAccount::Password)?;
    if text.len() > MAX_PASSWORD_BYTES || text.contains(|it: char| it.is_control()) {
        return Err(InvalidAccount::Password);
    }
    if text.len() < min_bytes {
        return Err(InvalidAccount::ShortPassword { min_bytes });
    }
    Ok(())
}

impl InvalidAccount {
    /// Returns what would be right.
    pub(crate) fn needed(self) -> String {
        match self {
            Self::Name => "the name of an account must be a valid nick".to_owned(),
            Self::ShortPassword { min_bytes } => {
                format!("the password must have at least {min_bytes} bytes")
            }
            Self::Password => {
                format!(
                    "the password must be UTF-8 of at most {MAX_PASSWORD_BYTES} bytes without control characters"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::secret::PhcHash;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    async fn open(directory: &Path) -> Accounts {
        let limit = RegistrationLimit::new(Some(2.0));
        let verifier = Arc::new(PasswordVerifier::new(None));
        Accounts::open(directory, verifier, limit, Metrics::default()).await.expect("opened")
    }

    fn credentials(account: &str, password: &str) -> Credentials {
        Credentials { account: account.as_bytes().into(), password: password.as_bytes().into() }
    }

    #[tokio::test]
    async fn a_registered_account_can_log_in_also_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let accounts = open(directory.path()).await;
        let created = accounts.register(credentials("Ada", "open sesame"), HERE).await;
        assert!(matches!(created, Registration::Created(name) if *name == *b"Ada"));
        let again = accounts.register(credentials("ADA", "another one"), HERE).await;
        assert!(matches!(again, Registration::Exists));
        for accounts in [accounts, open(directory.path()).await] {
            let name = accounts.log_in(&credentials("aDa", "open sesame"), HERE).await;
            assert_eq!(name.as_deref(), Some(&b"Ada"[..]));
            assert_eq!(accounts.log_in(&credentials("ada", "another one"), HERE).await, None);
            assert_eq!(accounts.log_in(&credentials("bob", "open sesame"), HERE).await, None);
        }
    }

    #[tokio::test]
    async fn changes_of_the_command_line_are_noticed() {
        let directory = tempfile::tempdir().expect("a directory");
        let accounts = open(directory.path()).await;
        let store = AccountStore::new(directory.path());
        let hash = PhcHash::new(b"open sesame").expect("hashed");
        let (name, created) = (b"ada"[..].into(), SystemTime::now());
        store.add(&StoredAccount { name, hash, created }).expect("added");
        let ada = credentials("ada", "open sesame");
        assert!(accounts.log_in(&ada, HERE).await.is_some());
        assert!(store.remove(b"ada").expect("removed"));
        assert!(accounts.log_in(&ada, HERE).await.is_none());
    }

    #[tokio::test]
    async fn each_address_registers_few_accounts() {
        let directory = tempfile::tempdir().expect("a directory");
        let accounts = open(directory.path()).await;
        for (name, is_created) in [("a", true), ("b", true), ("c", false)] {
            let registration = accounts.register(credentials(name, "open sesame"), HERE).await;
            assert_eq!(matches!(registration, Registration::Created(_)), is_created, "{registration:?}");
            assert_eq!(matches!(registration, Registration::Limited), !is_created, "{registration:?}");
        }
    }

    #[test]
    fn invalid_names_and_passwords_are_refused() {
        assert_eq!(check_new(b"ada", b"sesame", 6), Ok(()));
        assert_eq!(check_new(b"ada", &[b'x'; MAX_PASSWORD_BYTES], 6), Ok(()));
        for (name, password, error) in [
            (&b"*"[..], &b"sesame"[..], InvalidAccount::Name),
            (b"a b", b"sesame", InvalidAccount::Name),
            (&[b'a'; 31], b"sesame", InvalidAccount::Name),
            (b"ada", b"short", InvalidAccount::ShortPassword { min_bytes: 6 }),
            (b"ada", b"\xff\xff\xff\xff\xff\xff", InvalidAccount::Password),
            (b"ada", b"ses\0ame", InvalidAccount::Password),
            (b"ada", &[b'x'; MAX_PASSWORD_BYTES + 1], InvalidAccount::Password),
        ] {
            assert_eq!(check_new(name, password, 6), Err(error));
        }
    }
}
