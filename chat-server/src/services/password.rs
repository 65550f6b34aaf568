//! Injection site `password`: verifies passwords for PASS, OPER and SASL.
//!
//! A quick check refuses nearly all wrong passwords, so they cannot keep the
//! slow check busy. It also remembers the wrong passwords that reached the slow
//! check, so that each of them gets there once: a client with the right
//! password waits for few slow checks, however much others guess. The quick
//! check of an account does not know the password until the first login after
//! a start. Until then, only the turns of the addresses limit the wait.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::inject::mistake::Mistake;
use crate::services::secret::{PhcHash, Secret};
use crate::services::slow_checks::SlowChecks;
use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::PasswordHash;

/// Verifies passwords. All services share one.
#[derive(Debug)]
pub(crate) struct PasswordVerifier {
    slow_checks: SlowChecks,
    mistake: Option<Mistake>,
}

/// The passwords of the configuration and the operator's name.
#[derive(Debug)]
pub(crate) struct Passwords {
    server: Option<Arc<Secret>>,
    operator: Option<(Box<[u8]>, Arc<Secret>)>,
    /// What the mistake verifies when the operator's name is wrong.
    decoy: Option<Arc<Secret>>,
    verifier: Arc<PasswordVerifier>,
}

impl Passwords {
    /// Hashes the configured passwords. This is expensive, so call it off the
    /// event loop.
    pub(crate) fn hash(
        server: Option<&str>,
        operator: Option<(&str, &str)>,
        verifier: Arc<PasswordVerifier>,
    ) -> anyhow::Result<Self> {
        let secret = |password: &str| Secret::new(password.as_bytes()).map(Arc::new);
        Ok(Self {
            server: server.map(secret).transpose()?,
            operator: match operator {
                Some((name, password)) => Some((name.as_bytes().into(), secret(password)?)),
                None => None,
            },
            decoy: verifier.mistake.is_some().then(|| secret("no password")).transpose()?,
            verifier,
        })
    }

    /// PASS: returns whether the server's password is right. Without a server
    /// password, every password is right.
    pub(crate) async fn admits(&self, password: &[u8], from: IpAddr) -> bool {
        match &self.server {
            Some(secret) => self.verifier.verify(secret, password, from).await,
            None => true,
        }
    }

    /// Returns whether the server has an operator.
    pub(crate) fn has_operator(&self) -> bool {
        self.operator.is_some()
    }

    /// OPER: returns whether name and password are those of the operator.
    pub(crate) async fn is_operator(&self, name: &[u8], password: &[u8], from: IpAddr) -> bool {
        match (&self.operator, &self.decoy) {
            (Some((operator, secret)), _) if **operator == *name => {
                self.verifier.verify(secret, password, from).await
            }
            (_, Some(decoy)) => {
                self.verifier.verify(decoy, password, from).await;
                false
            }
            (_, None) => false,
        }
    }
}

impl PasswordVerifier {
    pub(crate) fn new(mistake: Option<Mistake>) -> Self {
        Self { slow_checks: SlowChecks::new(), mistake }
    }

    /// Returns whether a client at `from` has sent the right password.
    pub(crate) async fn verify(&self, secret: &Arc<Secret>, password: &[u8], from: IpAddr) -> bool {
        match self.mistake.as_ref().and_then(Mistake::decide) {
            Some(duration) => wrong(secret.hash(), password, duration),
            None => self.right(secret, password, from).await,
        }
    }

    /// Right: refuses most wrong passwords at once and verifies the others on a
    /// thread for blocking work, one password at a time.
    async fn right(&self, secret: &Arc<Secret>, password: &[u8], from: IpAddr) -> bool {
        if !secret.may_match(password) {
            return false;
        }
        let Some(mut permit) = self.slow_checks.admit(from).await else { return false };
        // Another client may have sent the same password in the meantime.
        if !secret.may_match(password) {
            return false;
        }
        let (secret, password) = (secret.clone(), password.to_vec());
        // This runs to its end even if the client disconnects.
        let verify = move || secret.verify_slowly(&password, permit.memory());
        loopscope::spawn_blocking("verify-password", verify).await.unwrap_or(false)
    }

    /// Hashes a new password, on a thread for blocking work. It counts as a
    /// slow check, so that at most one runs.
    pub(crate) async fn hash(&self, password: &[u8], from: IpAddr) -> anyhow::Result<Secret> {
        let permit = self.slow_checks.admit(from).await;
        let password = password.to_vec();
        let hash = move || {
            let _permit = permit;
            Secret::new(&password)
        };
        loopscope::spawn_blocking("hash-password", hash).await?
    }
}

/// Wrong: computes for tens of milliseconds on the worker.
#[inline(never)]
fn wrong(hash: &PhcHash, password: &[u8], duration: Duration) -> bool {
    let started = Instant::now();
    let Ok(parsed) = PasswordHash::new(hash.as_str()) else { return false };
    loop {
        let verified = Argon2::default().verify_password(password, &parsed); // THE MISTAKE
        if started.elapsed() >= duration {
            return verified.is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::flag::Injections;
    use crate::inject::spec::InjectionSite;
    use std::net::Ipv4Addr;
    use std::pin::pin;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn passwords(server: Option<&str>, operator: Option<(&str, &str)>, inject: &[&str]) -> Passwords {
        let mistake = Injections::parse(inject.iter().copied()).expect("valid").at(InjectionSite::Password);
        Passwords::hash(server, operator, Arc::new(PasswordVerifier::new(mistake))).expect("hashed")
    }

    async fn check(inject: &[&str]) {
        let passwords = passwords(Some("open"), Some(("root", "secret")), inject);
        assert!(passwords.admits(b"open", HERE).await);
        assert!(!passwords.admits(b"Open", HERE).await);
        assert!(passwords.is_operator(b"root", b"secret", HERE).await);
        assert!(!passwords.is_operator(b"root", b"open", HERE).await);
        assert!(!passwords.is_operator(b"toor", b"secret", HERE).await);
    }

    #[tokio::test]
    async fn right_and_wrong_accept_the_same_passwords() {
        check(&[]).await;
        check(&["password=1ms"]).await;
    }

    #[tokio::test]
    async fn wrong_passwords_do_not_wait_for_the_slow_check() {
        let passwords = passwords(Some("open"), None, &[]);
        // Nobody can start a slow check while the test holds its permit.
        let _permit = passwords.verifier.slow_checks.admit(HERE).await;
        let mut refused = 0;
        for number in 0..1_000 {
            let password = number.to_string();
            tokio::select! {
                biased;
                is_right = passwords.admits(password.as_bytes(), HERE) => refused += usize::from(!is_right),
                () = std::future::ready(()) => {}
            }
        }
        assert!(refused >= 990, "{refused} of 1,000");
    }

    /// Returns a wrong password that only the slow check can refuse.
    fn lookalike(secret: &Secret) -> String {
        let mut words = (0..).map(|number: u64| number.to_string());
        words.find(|word| secret.may_match(word.as_bytes())).expect("one in 65,536")
    }

    #[tokio::test]
    async fn the_slow_check_refuses_a_password_only_once() {
        let passwords = passwords(Some("open"), None, &[]);
        let secret = passwords.server.as_ref().expect("a password");
        let word = lookalike(secret);
        let permit = passwords.verifier.slow_checks.admit(HERE).await;
        let (mut first, mut second) =
            (pin!(passwords.admits(word.as_bytes(), HERE)), pin!(passwords.admits(word.as_bytes(), HERE)));
        // Both wait for the slow check.
        tokio::select! {
            biased;
            _ = &mut first => unreachable!("the test holds the permit"),
            _ = &mut second => unreachable!("the test holds the permit"),
            () = std::future::ready(()) => drop(permit),
        }
        assert_eq!(tokio::join!(first, second), (false, false));
        assert_eq!(secret.refused_count(), 1, "the second one had no slow check");
        let _permit = passwords.verifier.slow_checks.admit(HERE).await;
        assert!(!passwords.admits(word.as_bytes(), HERE).await, "refused without the permit");
    }

    #[tokio::test]
    async fn without_passwords_all_are_admitted_and_none_is_operator() {
        let passwords = passwords(None, None, &[]);
        assert!(passwords.admits(b"", HERE).await);
        assert!(!passwords.is_operator(b"no password", b"no password", HERE).await);
    }
}
