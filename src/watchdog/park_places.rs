//! Where parked threads wait, read at most once in a pass.

use std::collections::HashMap;

use crate::os::ThreadInfo;
use crate::watchdog::inspector;
use crate::watchdog::sample::ParkPlace;

/// How many threads are read in one pass at most. Each takes about 10 µs.
const MAX_READS_PER_PASS: usize = 128;

/// The places that one pass has read.
#[derive(Debug, Default)]
pub(crate) struct ParkPlaces {
    by_thread: HashMap<i32, ParkPlace>,
    /// Whether places can be read, once that was asked.
    is_readable: Option<bool>,
}

impl ParkPlaces {
    /// Returns where a parked thread waits. Threads beyond the limit of a pass
    /// are unknown.
    pub(crate) fn of(&mut self, thread: ThreadInfo) -> ParkPlace {
        if let Some(place) = self.by_thread.get(&thread.tid) {
            return *place;
        }
        let is_readable = *self.is_readable.get_or_insert_with(inspector::shows_park_places);
        if !is_readable || self.by_thread.len() >= MAX_READS_PER_PASS {
            return ParkPlace::Unknown;
        }
        let place = inspector::park_place(thread);
        self.by_thread.insert(thread.tid, place);
        place
    }
}
