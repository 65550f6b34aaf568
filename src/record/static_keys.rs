//! Numbers of names and spawn locations: tables that every poll may read
//! without a lock. The key is the address in the program.

#[cfg(tokio_unstable)]
use std::panic::Location;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicUsize};

use crate::zeroed::{ZeroValid, ZeroedSlice};

/// The address of a value that is never freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StaticKey {
    address: usize,
    /// Two strings of different length may begin at the same address.
    length: usize,
}

#[cfg(tokio_unstable)]
impl StaticKey {
    /// Returns the key of the location at an address.
    pub(crate) fn from_location_address(address: usize) -> Self {
        Self { address, length: 0 }
    }
}

impl From<&'static str> for StaticKey {
    #[inline]
    fn from(name: &'static str) -> Self {
        Self { address: name.as_ptr().addr(), length: name.len() }
    }
}

#[cfg(tokio_unstable)]
impl From<&'static Location<'static>> for StaticKey {
    #[inline]
    fn from(location: &'static Location<'static>) -> Self {
        Self { address: std::ptr::from_ref(location).addr(), length: 0 }
    }
}

#[derive(Debug)]
struct KeyEntry {
    /// Zero if the entry is free.
    address: AtomicUsize,
    length: AtomicUsize,
    number: AtomicU32,
}

// SAFETY: a `KeyEntry` consists only of atomic numbers, for which all zero
// bytes are the value zero.
#[allow(unsafe_code)]
unsafe impl ZeroValid for KeyEntry {}

impl KeyEntry {
    /// Returns the number, if the entry is that of `key`.
    #[inline]
    fn get(&self, key: StaticKey) -> Option<u32> {
        let is_same = self.address.load(Acquire) == key.address && self.length.load(Relaxed) == key.length;
        is_same.then(|| self.number.load(Relaxed))
    }
}

/// A hash table with open addressing, of which at most three quarters are used.
/// Entries are never removed.
#[derive(Debug)]
pub(crate) struct StaticKeys {
    entries: ZeroedSlice<KeyEntry>,
    used: AtomicUsize,
}

impl StaticKeys {
    /// The number of entries must be a power of two.
    pub(crate) fn with_capacity(entries: usize) -> Self {
        debug_assert!(entries.is_power_of_two());
        Self { entries: ZeroedSlice::new(entries), used: AtomicUsize::new(0) }
    }

    #[inline]
    pub(crate) fn find(&self, key: StaticKey) -> Option<u32> {
        // Most keys are in the first entry of their sequence.
        match self.probe_sequence(key).next().and_then(|entry| entry.get(key)) {
            None => self.find_further(key),
            number => number,
        }
    }

    #[inline(never)]
    fn find_further(&self, key: StaticKey) -> Option<u32> {
        let used = self.probe_sequence(key).take_while(|entry| entry.address.load(Relaxed) != 0);
        used.filter_map(|entry| entry.get(key)).next()
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.used.load(Relaxed) >= self.entries.len() / 4 * 3
    }

    /// Inserts a key, unless it is known or the table is full. The caller
    /// ensures that no other thread inserts at the same time.
    pub(crate) fn insert(&self, key: StaticKey, number: u32) {
        if self.find(key).is_some() || self.is_full() {
            return;
        }
        if let Some(entry) = self.probe_sequence(key).find(|entry| entry.address.load(Relaxed) == 0) {
            self.used.fetch_add(1, Relaxed);
            entry.number.store(number, Relaxed);
            entry.length.store(key.length, Relaxed);
            entry.address.store(key.address, Release);
        }
    }

    #[inline]
    fn probe_sequence(&self, key: StaticKey) -> impl Iterator<Item = &KeyEntry> {
        // Locations are 24 bytes apart in read-only data. The multiplier (2^64
        // / phi) spreads their addresses over all bits, of which the upper ones
        // are used.
        let hash = (key.address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let entries = &*self.entries;
        // A division would take longer than the rest of the look-up.
        let mask = entries.len().wrapping_sub(1);
        (0..entries.len()).map(move |step| &entries[(hash as usize + step) & mask])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_keeps_its_entries_and_takes_no_more() {
        const CAPACITY: usize = 4096;
        let keys = StaticKeys::with_capacity(CAPACITY);
        let key = |n: usize| StaticKey { address: 0x1000 + 24 * n, length: 0 };
        (0..CAPACITY).for_each(|n| keys.insert(key(n), n as u32));
        for n in 0..CAPACITY {
            assert_eq!(keys.find(key(n)), (n < CAPACITY / 4 * 3).then_some(n as u32));
        }
    }

    #[test]
    fn names_that_begin_at_the_same_address_differ() {
        static NAME: &str = "session";
        let keys = StaticKeys::with_capacity(8);
        keys.insert(NAME.into(), 1);
        keys.insert(NAME[..3].into(), 2);
        assert_eq!([keys.find(NAME.into()), keys.find(NAME[..3].into())], [Some(1), Some(2)]);
        assert_eq!(keys.find(NAME[..4].into()), None);
    }
}
