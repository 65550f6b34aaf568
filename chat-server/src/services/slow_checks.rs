//! Admits one slow check of a password at a time, and addresses in turn.
//!
//! A slow check takes a core. Clients of one address wait in the order in which
//! they came. Addresses take turns: a client waits for at most one check of
//! each other address, however many clients of that address wait.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::Block;
use tokio::sync::oneshot;

/// The checks that wait and the working memory, 19 MiB. All checks share the
/// memory. Otherwise each thread would allocate 19 MiB, and its allocator would
/// keep them.
#[derive(Debug)]
pub(super) struct SlowChecks(Arc<Mutex<Queue>>);

#[derive(Debug)]
struct Queue {
    /// `None` while a check has it.
    memory: Option<Vec<Block>>,
    waiting: HashMap<IpAddr, VecDeque<oneshot::Sender<Permit>>>,
    /// The networks that wait, in the order of their turns.
    turns: VecDeque<IpAddr>,
}

/// The right to run a slow check. Dropping it admits the next one.
#[derive(Debug)]
pub(super) struct Permit {
    memory: Vec<Block>,
    /// `None` only while the permit is passed on.
    queue: Option<Arc<Mutex<Queue>>>,
}

impl SlowChecks {
    pub(super) fn new() -> Self {
        let (waiting, turns) = Default::default();
        Self(Arc::new(Mutex::new(Queue { memory: Some(Vec::new()), waiting, turns })))
    }

    /// Waits until a check for a client at `address` may run.
    pub(super) async fn admit(&self, address: IpAddr) -> Option<Permit> {
        let turn = {
            let mut queue = lock(&self.0);
            if let Some(memory) = queue.memory.take() {
                return Some(Permit { memory, queue: Some(self.0.clone()) });
            }
            let (sender, turn) = oneshot::channel();
            queue.push(network_of(address), sender);
            turn
        };
        turn.await.ok()
    }
}

impl Queue {
    fn push(&mut self, network: IpAddr, sender: oneshot::Sender<Permit>) {
        let waiting = self.waiting.entry(network).or_default();
        if waiting.is_empty() {
            self.turns.push_back(network);
        }
        waiting.push_back(sender);
    }

    /// Takes the next check. Its network waits for its next turn behind all
    /// others.
    fn pop(&mut self) -> Option<oneshot::Sender<Permit>> {
        let network = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&network)?;
        let sender = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&network);
        } else {
            self.turns.push_back(network);
        }
        sender
    }
}

impl Permit {
    pub(super) fn memory(&mut self) -> &mut Vec<Block> {
        &mut self.memory
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        let mut memory = std::mem::take(&mut self.memory);
        loop {
            let next = {
                let mut queue = lock(&queue);
                match queue.pop() {
                    Some(next) => next,
                    None => {
                        queue.memory = Some(memory);
                        return;
                    }
                }
            };
            match next.send(Self { memory, queue: Some(queue.clone()) }) {
                Ok(()) => return,
                // That client has disconnected.
                Err(mut unused) => {
                    unused.queue = None;
                    memory = std::mem::take(&mut unused.memory);
                }
            }
        }
    }
}

/// Returns the network that shares its turns: an IPv4 address, or the 64 bits
/// of an IPv6 address that one customer usually has.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Turn<'a> = Pin<Box<dyn Future<Output = Option<Permit>> + 'a>>;

    fn poll(turn: &mut Turn<'_>) -> Option<Permit> {
        match turn.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => permit,
            Poll::Pending => None,
        }
    }

    /// Returns the addresses in the order in which they are admitted.
    fn order(checks: &SlowChecks, waiting: &mut Vec<(&str, Turn<'_>)>) -> Vec<String> {
        let mut order = Vec::new();
        while let Some(index) = {
            let mut permits = waiting.iter_mut().map(|(_, turn)| poll(turn));
            permits.position(|permit| permit.is_some())
        } {
            order.push(waiting.remove(index).0.to_owned());
        }
        assert!(lock(&checks.0).waiting.is_empty() && lock(&checks.0).turns.is_empty());
        order
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_take_turns() {
        let checks = SlowChecks::new();
        let first = poll(&mut (Box::pin(checks.admit(address("1.1.1.1"))) as Turn<'_>));
        let addresses = ["1.1.1.1", "1.1.1.1", "1.1.1.1", "2.2.2.2", "::1", "::2", "2.2.2.2"];
        let mut waiting: Vec<(&str, Turn<'_>)> =
            addresses.map(|it| (it, Box::pin(checks.admit(address(it))) as Turn<'_>)).into();
        assert!(waiting.iter_mut().all(|(_, turn)| poll(turn).is_none()));
        drop(first);
        let expected = ["1.1.1.1", "2.2.2.2", "::1", "1.1.1.1", "2.2.2.2", "::2", "1.1.1.1"];
        assert_eq!(order(&checks, &mut waiting), expected);
        assert!(lock(&checks.0).memory.is_some());
    }

    #[test]
    fn a_client_that_has_gone_does_not_keep_its_turn() {
        let checks = SlowChecks::new();
        let first = poll(&mut (Box::pin(checks.admit(address("1.1.1.1"))) as Turn<'_>));
        let mut turns: Vec<(&str, Turn<'_>)> = ["1.1.1.1", "2.2.2.2", "3.3.3.3"]
            .map(|it| (it, Box::pin(checks.admit(address(it))) as Turn<'_>))
            .into();
        assert!(turns.iter_mut().all(|(_, turn)| poll(turn).is_none()));
        drop(turns.remove(0));
        drop(first);
        // The second one has the permit already and goes before it uses it.
        drop(turns.remove(0));
        assert_eq!(order(&checks, &mut turns), ["3.3.3.3"]);
    }
}
