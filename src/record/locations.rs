//! The number of each spawn location: a table that every poll reads without a
//! lock.

use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize};

/// Entries of the table. A power of two, of which at most three quarters are
/// used. There are more entries than kinds, because the same source line may
/// have several addresses.
const CAPACITY: usize = 4096;

#[derive(Debug, Default)]
struct LocationEntry {
    location: AtomicPtr<Location<'static>>,
    number: AtomicU32,
}

/// A hash table with open addressing. The key is the address of the location.
/// Entries are never removed.
#[derive(Debug)]
pub(crate) struct Locations {
    entries: Box<[LocationEntry]>,
    used: AtomicUsize,
}

impl Locations {
    pub(crate) fn new() -> Self {
        Self { entries: (0..CAPACITY).map(|_| LocationEntry::default()).collect(), used: AtomicUsize::new(0) }
    }

    #[inline]
    pub(crate) fn find(&self, location: &'static Location<'static>) -> Option<u32> {
        for entry in self.probe_sequence(location) {
            let key = entry.location.load(Acquire);
            if ptr::eq(key, location) {
                return Some(entry.number.load(Relaxed));
            }
            if key.is_null() {
                return None;
            }
        }
        None
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used.load(Relaxed) >= CAPACITY / 4 * 3
    }

    /// Inserts a location, unless it is known or the table is full. The caller
    /// ensures that no other thread inserts at the same time.
    pub(crate) fn insert(&self, location: &'static Location<'static>, number: u32) {
        if self.find(location).is_some() || self.is_full() {
            return;
        }
        if let Some(entry) =
            self.probe_sequence(location).find(|entry| entry.location.load(Relaxed).is_null())
        {
            self.used.fetch_add(1, Relaxed);
            entry.number.store(number, Relaxed);
            entry.location.store(ptr::from_ref(location).cast_mut(), Release);
        }
    }

    #[inline]
    fn probe_sequence(&self, location: &'static Location<'static>) -> impl Iterator<Item = &LocationEntry> {
        let address = ptr::from_ref(location).addr();
        // Locations are 24 bytes apart in read-only data. The multiplier (2^64
        // / phi) spreads their addresses over all bits, of which the upper ones
        // are used.
        let hash = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        (0..CAPACITY).map(move |step| &self.entries[(hash as usize + step) % CAPACITY])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_keeps_its_entries_and_takes_no_more() {
        let locations = Locations::new();
        let leaked: Vec<&'static Location<'static>> =
            (0..CAPACITY).map(|_| &*Box::leak(Box::new(*Location::caller()))).collect();
        for (n, location) in leaked.iter().enumerate() {
            locations.insert(location, n as u32);
        }
        for (n, location) in leaked.iter().enumerate() {
            let expected = (n < CAPACITY / 4 * 3).then_some(n as u32);
            assert_eq!(locations.find(location), expected);
        }
    }
}
