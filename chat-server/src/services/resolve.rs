//! Injection site `resolve`: logs the host name of each peer that connects.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dns_lookup::lookup_addr;
use tokio::sync::Semaphore;

use crate::inject::mistake::Mistake;

/// Maximum look-ups at one time. Further peers are not looked up: a name server
/// may take many seconds, and connects must not wait.
const MAX_LOOKUPS: usize = 16;

/// Looks up the host names of peers.
#[derive(Debug)]
pub(crate) struct Resolver {
    lookups: Arc<Semaphore>,
    mistake: Option<Mistake>,
}

impl Resolver {
    pub(crate) fn new(mistake: Option<Mistake>) -> Self {
        Self { lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)), mistake }
    }

    /// Logs the host name of `peer`.
    pub(crate) fn log_host_name(&self, peer: SocketAddr) {
        match self.mistake.as_ref().and_then(Mistake::decide) {
            Some(duration) => wrong(peer.ip(), duration),
            None => self.right(peer.ip()),
        }
    }

    /// Right: looks up on a thread for blocking work, while the client is
    /// served. The loopback address needs no look-up.
    fn right(&self, peer: IpAddr) {
        let Ok(permit) = self.lookups.clone().try_acquire_owned() else { return };
        if !peer.is_loopback() {
            // Nobody waits for the name. The task ends by itself.
            drop(loopscope::spawn_blocking("resolve", move || {
                log(peer, lookup_addr(&peer).ok());
                drop(permit);
            }));
        }
    }
}

/// Wrong: the worker waits for the resolver. Repeats until `duration` has
/// passed, as names in the machine's hosts file resolve fast.
#[inline(never)]
fn wrong(peer: IpAddr, duration: Duration) {
    let started = Instant::now();
    loop {
        let name = lookup_addr(&peer); // THE MISTAKE
        if started.elapsed() >= duration {
            return log(peer, name.ok());
        }
    }
}

fn log(peer: IpAddr, name: Option<String>) {
    tracing::debug!(%peer, name = name.as_deref().unwrap_or("unknown"), "a client connected");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mistake_takes_at_least_its_duration() {
        let started = Instant::now();
        wrong(IpAddr::from([127, 0, 0, 1]), Duration::from_millis(20));
        assert!(started.elapsed() >= Duration::from_millis(20));
    }

    #[tokio::test]
    async fn a_peer_on_this_machine_is_not_looked_up() {
        let resolver = Resolver::new(None);
        for port in 0..100 {
            resolver.log_host_name(SocketAddr::from(([127, 0, 0, 1], port)));
        }
        assert_eq!(resolver.lookups.available_permits(), MAX_LOOKUPS);
    }
}
