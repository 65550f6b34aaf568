//! The accounts of the clients.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context as _, bail};

/// The part of a name or password that the number of the connection replaces.
const NUMBER: &str = "{n}";

/// The largest file of accounts that is read.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// An account: a name, and the password that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, password) = text.split_once(':').ok_or("write it as NAME:PASSWORD")?;
        if name.is_empty() || text.contains(char::is_control) {
            return Err("the name must not be empty, and neither part may have control characters".into());
        }
        Ok(Self { name: name.to_owned(), password: password.to_owned() })
    }
}

/// The accounts that the connections log in with, in turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts(Vec<Account>);

impl Accounts {
    /// Returns one account, or a pattern of one.
    pub(crate) fn new(account: Account) -> Self {
        Self(vec![account])
    }

    /// Reads the accounts in the file `path`, one per line. Empty lines are
    /// skipped.
    pub(crate) fn read_file(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let cannot_read = || format!("--sasl-file {name} cannot be read");
        let file = std::fs::File::open(path).with_context(cannot_read)?;
        let text =
            std::io::read_to_string(std::io::Read::take(file, MAX_FILE_BYTES)).with_context(cannot_read)?;
        let mut accounts = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
            match line.parse() {
                Ok(account) => accounts.push(account),
                Err(reason) => bail!("--sasl-file {name}:{number} is not an account: {reason}"),
            }
        }
        if accounts.is_empty() {
            bail!("--sasl-file {name} has no account; write one NAME:PASSWORD per line");
        }
        Ok(Self(accounts))
    }

    /// Returns the account of connection `number`; `None` if there are no
    /// accounts.
    pub(crate) fn of(&self, number: usize) -> Option<Account> {
        let Account { name, password } = self.0.get(number.checked_rem(self.0.len())?)?;
        let text = number.to_string();
        Some(Account { name: name.replace(NUMBER, &text), password: password.replace(NUMBER, &text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_gives_each_connection_its_account() {
        let accounts = Accounts::new("load{n}:se:cret{n}".parse().expect("an account"));
        let account = accounts.of(12).expect("an account");
        assert_eq!((&*account.name, &*account.password), ("load12", "se:cret12"));
        assert!(!format!("{account:?}").contains("cret"));
        assert_eq!(Accounts::default().of(0), None);
    }

    #[test]
    fn text_that_is_no_account_is_refused() {
        for text in ["name", ":password", "a\r:b", "a:b\0"] {
            assert!(text.parse::<Account>().is_err(), "{text}");
        }
    }
}
