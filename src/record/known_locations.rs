//! The kinds of the spawn locations that one thread has polled last.

use std::cell::Cell;
use std::panic::Location;

use crate::record::kinds::{KindId, Kinds};

/// Locations are 24 bytes apart, so eight that follow one another have eight
/// different entries.
const ENTRIES: usize = 8;

/// A small table in front of [`Kinds::for_location`], whose search takes four
/// times as many instructions. A location never changes its kind.
#[derive(Debug)]
pub(crate) struct KnownLocations([Cell<(usize, KindId)>; ENTRIES]);

impl KnownLocations {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| Cell::new((0, KindId::OTHER))))
    }

    /// Returns the kind of a location, which is [`KindId::OTHER`] if there are
    /// too many.
    #[inline]
    pub(crate) fn kind(&self, location: &'static Location<'static>, kinds: &Kinds) -> KindId {
        let address = std::ptr::from_ref(location).addr();
        let entry = &self.0[address / 8 % ENTRIES];
        match entry.get() {
            (known, kind) if known == address => kind,
            _ => find(entry, location, kinds),
        }
    }
}

#[cold]
fn find(entry: &Cell<(usize, KindId)>, location: &'static Location<'static>, kinds: &Kinds) -> KindId {
    let kind = kinds.for_location(location);
    // Without a kind there was no room for the location.
    if let Some(kind) = kind {
        entry.set((std::ptr::from_ref(location).addr(), kind));
    }
    kind.unwrap_or(KindId::OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_of_one_entry_keep_their_kinds() {
        let kinds = Kinds::new();
        let known = KnownLocations::new();
        let locations: [Location<'static>; 3 * ENTRIES] = [*Location::caller(); 3 * ENTRIES];
        let locations: &'static [Location<'static>] = Box::leak(Box::new(locations));
        let others = [Location::caller(), panic_location()];
        for _ in 0..3 {
            for location in locations.iter().chain(others) {
                assert_eq!(Some(known.kind(location, &kinds)), kinds.find_location(location));
            }
        }
        assert_ne!(known.kind(others[0], &kinds), known.kind(others[1], &kinds));
    }

    #[track_caller]
    fn panic_location() -> &'static Location<'static> {
        Location::caller()
    }
}
