//! Limits on TLS handshakes in progress, in all and for each address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts the handshakes in progress. Without a limit, clients that never end
/// their handshake could take all places of the server.
#[derive(Debug)]
pub(super) struct HandshakeSlots {
    max_in_all: usize,
    max_per_address: usize,
    open: Mutex<OpenHandshakes>,
}

#[derive(Debug, Default)]
struct OpenHandshakes {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one handshake. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct HandshakeSlot {
    slots: Arc<HandshakeSlots>,
    address: IpAddr,
}

impl HandshakeSlots {
    /// Creates the limits of a server with so many connections: half of them
    /// may be in their handshake, and a quarter from one address.
    pub(super) fn new(max_connections: u32) -> Arc<Self> {
        let max_in_all = (max_connections as usize / 2).max(1);
        let max_per_address = (max_in_all / 2).max(1);
        Arc::new(Self { max_in_all, max_per_address, open: Mutex::default() })
    }

    /// Takes a place unless a limit is reached.
    pub(super) fn try_take(self: &Arc<Self>, address: IpAddr) -> Option<HandshakeSlot> {
        let address = network(address);
        let mut open = self.open();
        let from_address = open.by_address.get(&address).copied().unwrap_or(0);
        if open.count >= self.max_in_all || from_address >= self.max_per_address {
            return None;
        }
        open.count += 1;
        open.by_address.insert(address, from_address + 1);
        Some(HandshakeSlot { slots: self.clone(), address })
    }

    fn open(&self) -> MutexGuard<'_, OpenHandshakes> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        let mut open = self.slots.open();
        open.count -= 1;
        match open.by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.by_address.remove(&self.address)),
        }
    }
}

/// Returns what counts as one address. An IPv6 client usually has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_all_and_for_each_address() {
        let slots = HandshakeSlots::new(12);
        let take = |address: &str| slots.try_take(address.parse().expect("an address"));
        let mut taken: Vec<_> = (0..3).map(|_| take("10.0.0.1").expect("free")).collect();
        assert!(take("10.0.0.1").is_none() && take("::ffff:10.0.0.1").is_none());
        taken.push(take("2001:db8::1").expect("free"));
        taken.push(take("2001:db8::2").expect("free"));
        taken.push(take("2001:db8::3").expect("free"));
        assert!(take("2001:db8::4").is_none() && take("10.0.0.2").is_none());
        taken.clear();
        assert!(slots.open().by_address.is_empty() && slots.open().count == 0);
        let _again = take("10.0.0.1").expect("free again");
    }

    #[test]
    fn the_smallest_server_has_one_place() {
        let slots = HandshakeSlots::new(1);
        let first = slots.try_take([127, 0, 0, 1].into());
        assert!(first.is_some() && slots.try_take([127, 0, 0, 1].into()).is_none());
    }
}
