//! A number for each spawn location: a table that every poll looks into,
//! without a lock.

use std::panic::Location;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize};

/// Places: a power of two, filled to three quarters at most. The same line may
/// have several addresses, hence more than there are kinds.
const PLACES: usize = 4096;

#[derive(Debug, Default)]
struct Place {
    location: AtomicPtr<Location<'static>>,
    number: AtomicU32,
}

/// A hash table with open addressing, keyed by the location's address, which
/// only grows.
#[derive(Debug)]
pub(crate) struct Locations {
    places: Box<[Place]>,
    used: AtomicUsize,
}

impl Locations {
    pub(crate) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Place::default()).collect(), used: AtomicUsize::new(0) }
    }

    #[inline]
    pub(crate) fn find(&self, location: &'static Location<'static>) -> Option<u32> {
        for place in self.places_from(location) {
            let key = place.location.load(Acquire);
            if ptr::eq(key, location) {
                return Some(place.number.load(Relaxed));
            }
            if key.is_null() {
                return None;
            }
        }
        None
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used.load(Relaxed) >= PLACES / 4 * 3
    }

    /// Puts a location in, unless it is there or the table is full. The caller
    /// sees to it that no other thread does so at the same time.
    pub(crate) fn insert(&self, location: &'static Location<'static>, number: u32) {
        if self.find(location).is_some() || self.is_full() {
            return;
        }
        if let Some(place) = self.places_from(location).find(|place| place.location.load(Relaxed).is_null()) {
            self.used.fetch_add(1, Relaxed);
            place.number.store(number, Relaxed);
            place.location.store(ptr::from_ref(location).cast_mut(), Release);
        }
    }

    #[inline]
    fn places_from(&self, location: &'static Location<'static>) -> impl Iterator<Item = &Place> {
        let address = ptr::from_ref(location).addr();
        // Locations lie 24 bytes apart in read-only data; the multiplier
        // (2^64 / phi) spreads that over all bits, of which the top ones count.
        let hash = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        (0..PLACES).map(move |step| &self.places[(hash as usize + step) % PLACES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_still_answers() {
        let locations = Locations::new();
        let leaked: Vec<&'static Location<'static>> =
            (0..PLACES).map(|_| &*Box::leak(Box::new(*Location::caller()))).collect();
        for (n, location) in leaked.iter().enumerate() {
            locations.insert(location, n as u32);
        }
        for (n, location) in leaked.iter().enumerate() {
            let expected = (n < PLACES / 4 * 3).then_some(n as u32);
            assert_eq!(locations.find(location), expected);
        }
    }
}
