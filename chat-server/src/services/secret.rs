//! What the server keeps of a password: a hash, and in memory a quick check.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Argon2, Block, Params};

/// Maximum wrong passwords that are remembered for each secret.
const MAX_REFUSED: usize = 64;
/// Maximum bytes of a hash in the PHC format. Those of this server have fewer
/// than 100.
const MAX_HASH_BYTES: usize = 256;

/// What the server keeps of a password.
#[derive(Debug)]
pub(crate) struct Secret {
    quick: QuickCheck,
    hash: PhcHash,
}

/// Sixteen bits of a digest with a random key. A wrong password has the same
/// bits once in 65,536 times. They say too little about the password to guess
/// it without the slow check. They are never on disk: there they would make
/// each guess of a thief 65,536 times cheaper.
#[derive(Debug)]
struct QuickCheck {
    key: RandomState,
    /// Unset until the server has seen the password: the hash on disk does not
    /// reveal it.
    digest: OnceLock<u16>,
    /// Whole digests of the last wrong passwords that reached the slow check.
    /// Otherwise many clients that send one of them would occupy it.
    refused: Mutex<VecDeque<u64>>,
}

/// A hash in the PHC format. Its parameters are those of this server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PhcHash(String);

impl Secret {
    /// Hashes a password. This is expensive, so call it off the event loop.
    pub(crate) fn new(password: &[u8]) -> anyhow::Result<Self> {
        let secret = Self::from_hash(PhcHash::new(password)?);
        secret.quick.learn(password);
        Ok(secret)
    }

    /// Creates the secret of a password that the server has not seen. All
    /// passwords need the slow check until one of them is right.
    pub(crate) fn from_hash(hash: PhcHash) -> Self {
        Self { quick: QuickCheck::new(), hash }
    }

    pub(crate) fn hash(&self) -> &PhcHash {
        &self.hash
    }

    /// Returns `false` if `password` is wrong for sure.
    pub(crate) fn may_match(&self, password: &[u8]) -> bool {
        self.quick.may_match(password)
    }

    /// Returns whether `password` is right, and learns from it. This is
    /// expensive, so call it off the event loop. `memory` is the working
    /// memory.
    pub(crate) fn verify_slowly(&self, password: &[u8], memory: &mut Vec<Block>) -> bool {
        let is_right = self.hash.matches(password, memory);
        match is_right {
            Some(true) => self.quick.learn(password),
            Some(false) => self.quick.remember_refused(password),
            None => {}
        }
        is_right == Some(true)
    }

    #[cfg(test)]
    pub(super) fn refused_count(&self) -> usize {
        self.quick.refused().len()
    }
}

impl QuickCheck {
    fn new() -> Self {
        Self { key: RandomState::new(), digest: OnceLock::new(), refused: Mutex::default() }
    }

    /// Records the right password.
    fn learn(&self, password: &[u8]) {
        self.digest.get_or_init(|| self.key.hash_one(password) as u16);
    }

    /// Returns `false` if `password` is wrong for sure.
    fn may_match(&self, password: &[u8]) -> bool {
        let digest = self.key.hash_one(password);
        self.digest.get().is_none_or(|&right| right == digest as u16) && !self.refused().contains(&digest)
    }

    /// Remembers a password that the slow check has refused.
    fn remember_refused(&self, password: &[u8]) {
        let mut refused = self.refused();
        if refused.len() == MAX_REFUSED {
            refused.pop_front();
        }
        refused.push_back(self.key.hash_one(password));
    }

    fn refused(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PhcHash {
    /// Hashes a password.
    pub(crate) fn new(password: &[u8]) -> anyhow::Result<Self> {
        let hash = Argon2::default().hash_password(password);
        Ok(Self(hash.map_err(|error| anyhow::anyhow!("cannot hash a password: {error}"))?.to_string()))
    }

    /// Reads a hash from a file. Returns `None` if it is not one of this
    /// server: other parameters could cost any amount of memory and time.
    pub(crate) fn from_stored(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_HASH_BYTES)?;
        let parsed = PasswordHash::new(text).ok()?;
        let params = Params::try_from(&parsed).ok()?;
        let (default, has_output) = (Params::DEFAULT, parsed.salt.is_some() && parsed.hash.is_some());
        let costs = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        (has_output && costs(&params) == costs(&default)).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether `password` has this hash, or `None` if the hash cannot
    /// be computed. `memory` is the working memory.
    fn matches(&self, password: &[u8], memory: &mut Vec<Block>) -> Option<bool> {
        let parsed = PasswordHash::new(&self.0).ok()?;
        let (salt, expected) = (parsed.salt?, parsed.hash?);
        let argon2 = Argon2::from(Params::try_from(&parsed).ok()?);
        memory.resize(argon2.params().block_count(), Block::new());
        let mut output = vec![0; expected.len()];
        argon2.hash_password_into_with_memory(password, salt.as_ref(), &mut output, memory).ok()?;
        // `Output` compares in constant time.
        Some(Output::new(&output).ok()? == expected)
    }
}

impl fmt::Debug for PhcHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhcHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_refused_passwords_are_remembered() {
        let quick = QuickCheck::new();
        quick.learn(b"open");
        (0..2 * MAX_REFUSED).for_each(|number| quick.remember_refused(number.to_string().as_bytes()));
        assert_eq!(quick.refused().len(), MAX_REFUSED);
        assert!(quick.may_match(b"open"));
        quick.remember_refused(b"open");
        assert!(!quick.may_match(b"open"));
    }

    #[test]
    fn the_first_right_password_teaches_the_quick_check() {
        let secret = Secret::from_hash(PhcHash::new(b"open").expect("hashed"));
        let count = |secret: &Secret| {
            (0..1_000).filter(|number: &u32| secret.may_match(number.to_string().as_bytes())).count()
        };
        assert_eq!(count(&secret), 1_000, "the hash does not reveal which are wrong");
        let mut memory = Vec::new();
        assert!(!secret.verify_slowly(b"Open", &mut memory));
        assert!(!secret.may_match(b"Open"));
        assert!(secret.verify_slowly(b"open", &mut memory));
        assert!(count(&secret) <= 10, "{}", count(&secret));
    }

    #[test]
    fn hashes_with_other_parameters_are_refused() {
        let hash = PhcHash::new(b"open").expect("hashed");
        assert_eq!(PhcHash::from_stored(hash.as_str().as_bytes()), Some(hash.clone()));
        let costly = hash.as_str().replace("m=19456", "m=4194304");
        assert_ne!(costly, hash.as_str());
        for text in [&costly, "", "$argon2id$v=19$m=19456,t=2,p=1", "\u{e4}", &"x".repeat(10_000)] {
            assert_eq!(PhcHash::from_stored(text.as_bytes()), None, "{text}");
        }
    }
}
