//! Injection site `password`: verifies passwords for PASS and OPER.
//!
//! A quick check refuses nearly all wrong passwords, so they cannot keep the
//! slow check busy. It also remembers the wrong passwords that reached the slow
//! check, so that each of them gets there once: a client with the right
//! password waits for few slow checks, however much others guess.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::inject::mistake::Mistake;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Block, Params};

/// Maximum wrong passwords that are remembered for each secret.
const MAX_REFUSED: usize = 64;

/// The hashed passwords and the operator's name.
#[derive(Debug)]
pub(crate) struct Passwords {
    server: Option<Arc<Secret>>,
    operator: Option<(Box<[u8]>, Arc<Secret>)>,
    /// What the mistake verifies when the operator's name is wrong.
    decoy: Option<Arc<Secret>>,
    /// Working memory of a verification, 19 MiB. Its lock allows one
    /// verification at a time, as each takes a core. All verifications
    /// share the memory. Otherwise each thread would allocate 19 MiB, and its
    /// allocator would keep them.
    memory: Arc<tokio::sync::Mutex<Vec<Block>>>,
    mistake: Option<Mistake>,
}

/// What the server keeps of a password.
#[derive(Debug)]
struct Secret {
    quick: QuickCheck,
    hash: PhcHash,
}

/// Sixteen bits of a digest with a random key. A wrong password has the same
/// bits once in 65,536 times. They say too little about the password to guess
/// it without the slow check.
#[derive(Debug)]
struct QuickCheck {
    key: RandomState,
    digest: u16,
    /// Whole digests of the last wrong passwords with the same bits. Otherwise
    /// many clients that send one of them would occupy the slow check.
    refused: Mutex<VecDeque<u64>>,
}

/// A hash in the PHC format.
#[derive(Debug)]
struct PhcHash(String);

impl Passwords {
    /// Hashes the configured passwords. This is expensive, so call it off the
    /// event loop.
    pub(crate) fn hash(
        server: Option<&str>,
        operator: Option<(&str, &str)>,
        mistake: Option<Mistake>,
    ) -> anyhow::Result<Self> {
        let needs_decoy = mistake.is_some();
        Ok(Self {
            server: server.map(Secret::new).transpose()?,
            operator: match operator {
                Some((name, password)) => Some((name.as_bytes().into(), Secret::new(password)?)),
                None => None,
            },
            decoy: needs_decoy.then(|| Secret::new("no password")).transpose()?,
            memory: Arc::default(),
            mistake,
        })
    }

    /// PASS: returns whether the server's password is right. Without a server
    /// password, every password is right.
    pub(crate) async fn admits(&self, password: &[u8]) -> bool {
        match &self.server {
            Some(secret) => self.verify(secret, password).await,
            None => true,
        }
    }

    /// Returns whether the server has an operator.
    pub(crate) fn has_operator(&self) -> bool {
        self.operator.is_some()
    }

    /// OPER: returns whether name and password are those of the operator.
    pub(crate) async fn is_operator(&self, name: &[u8], password: &[u8]) -> bool {
        match (&self.operator, &self.decoy) {
            (Some((operator, secret)), _) if **operator == *name => self.verify(secret, password).await,
            (_, Some(decoy)) => {
                self.verify(decoy, password).await;
                false
            }
            (_, None) => false,
        }
    }

    async fn verify(&self, secret: &Arc<Secret>, password: &[u8]) -> bool {
        match self.mistake.as_ref().and_then(Mistake::decide) {
            Some(duration) => wrong(&secret.hash, password, duration),
            None => self.right(secret, password).await,
        }
    }

    /// Right: refuses most wrong passwords at once and verifies the others on a
    /// thread for blocking work, one password at a time.
    async fn right(&self, secret: &Arc<Secret>, password: &[u8]) -> bool {
        if !secret.quick.may_match(password) {
            return false;
        }
        let mut memory = self.memory.clone().lock_owned().await;
        // Another client may have sent the same password in the meantime.
        if !secret.quick.may_match(password) {
            return false;
        }
        let (secret, password) = (secret.clone(), password.to_vec());
        // This runs to its end even if the client disconnects.
        let verify = move || {
            let is_right = secret.hash.matches(&password, &mut memory);
            if is_right == Some(false) {
                secret.quick.remember_refused(&password);
            }
            is_right == Some(true)
        };
        loopscope::spawn_blocking("verify-password", verify).await.unwrap_or(false)
    }
}

/// Wrong: computes for tens of milliseconds on the worker.
#[inline(never)]
fn wrong(hash: &PhcHash, password: &[u8], duration: Duration) -> bool {
    let started = Instant::now();
    let Ok(parsed) = PasswordHash::new(&hash.0) else { return false };
    loop {
        let verified = Argon2::default().verify_password(password, &parsed); // THE MISTAKE
        if started.elapsed() >= duration {
            return verified.is_ok();
        }
    }
}

impl Secret {
    fn new(password: &str) -> anyhow::Result<Arc<Self>> {
        let (quick, hash) = (QuickCheck::new(password.as_bytes()), PhcHash::new(password)?);
        Ok(Arc::new(Self { quick, hash }))
    }
}

impl QuickCheck {
    fn new(password: &[u8]) -> Self {
        let key = RandomState::new();
        let digest = key.hash_one(password) as u16;
        Self { key, digest, refused: Mutex::default() }
    }

    /// Returns `false` if `password` is wrong for sure.
    fn may_match(&self, password: &[u8]) -> bool {
        let digest = self.key.hash_one(password);
        digest as u16 == self.digest && !self.refused().contains(&digest)
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
    fn new(password: &str) -> anyhow::Result<Self> {
        let hash = Argon2::default().hash_password(password.as_bytes());
        Ok(Self(hash.map_err(|error| anyhow::anyhow!("cannot hash a password: {error}"))?.to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::flag::Injections;
    use crate::inject::spec::InjectionSite;
    use std::pin::pin;

    async fn check(inject: &[&str]) {
        let mistake = Injections::parse(inject.iter().copied()).expect("valid").at(InjectionSite::Password);
        let passwords = Passwords::hash(Some("open"), Some(("root", "secret")), mistake).expect("hashed");
        assert!(passwords.admits(b"open").await);
        assert!(!passwords.admits(b"Open").await);
        assert!(passwords.is_operator(b"root", b"secret").await);
        assert!(!passwords.is_operator(b"root", b"open").await);
        assert!(!passwords.is_operator(b"toor", b"secret").await);
    }

    #[tokio::test]
    async fn right_and_wrong_accept_the_same_passwords() {
        check(&[]).await;
        check(&["password=1ms"]).await;
    }

    #[tokio::test]
    async fn wrong_passwords_do_not_wait_for_the_slow_check() {
        let passwords = Passwords::hash(Some("open"), None, None).expect("hashed");
        // Nobody can start a slow check while the test holds its memory.
        let _memory = passwords.memory.lock().await;
        let mut refused = 0;
        for number in 0..1_000 {
            let password = number.to_string();
            tokio::select! {
                biased;
                is_right = passwords.admits(password.as_bytes()) => refused += usize::from(!is_right),
                () = std::future::ready(()) => {}
            }
        }
        assert!(refused >= 990, "{refused} of 1,000");
    }

    /// Returns a wrong password that only the slow check can refuse.
    fn lookalike(secret: &Secret) -> String {
        let mut words = (0..).map(|number: u64| number.to_string());
        words.find(|word| secret.quick.may_match(word.as_bytes())).expect("one in 65,536")
    }

    #[tokio::test]
    async fn the_slow_check_refuses_a_password_only_once() {
        let passwords = Passwords::hash(Some("open"), None, None).expect("hashed");
        let secret = passwords.server.as_ref().expect("a password");
        let word = lookalike(secret);
        let memory = passwords.memory.lock().await;
        let (mut first, mut second) =
            (pin!(passwords.admits(word.as_bytes())), pin!(passwords.admits(word.as_bytes())));
        // Both wait for the slow check.
        tokio::select! {
            biased;
            _ = &mut first => unreachable!("the test holds the memory"),
            _ = &mut second => unreachable!("the test holds the memory"),
            () = std::future::ready(()) => drop(memory),
        }
        assert_eq!(tokio::join!(first, second), (false, false));
        assert_eq!(secret.quick.refused().len(), 1, "the second one had no slow check");
        let _memory = passwords.memory.lock().await;
        assert!(!passwords.admits(word.as_bytes()).await, "refused without the memory");
    }

    #[test]
    fn few_refused_passwords_are_remembered() {
        let quick = QuickCheck::new(b"open");
        (0..2 * MAX_REFUSED).for_each(|number| quick.remember_refused(number.to_string().as_bytes()));
        assert_eq!(quick.refused().len(), MAX_REFUSED);
        assert!(quick.may_match(b"open"));
        quick.remember_refused(b"open");
        assert!(!quick.may_match(b"open"));
    }

    #[tokio::test]
    async fn without_passwords_all_are_admitted_and_none_is_operator() {
        let passwords = Passwords::hash(None, None, None).expect("nothing to hash");
        assert!(passwords.admits(b"").await);
        assert!(!passwords.is_operator(b"no password", b"no password").await);
    }
}
