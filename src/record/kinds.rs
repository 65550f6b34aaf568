//! Kinds of tasks: one for each name, one for each spawn location without a
//! name, at most [`MAX_KINDS`]; what comes later is counted as `other`.

use std::collections::HashMap;
#[cfg(tokio_unstable)]
use std::panic::Location;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::lock::Lock;
#[cfg(tokio_unstable)]
use crate::record::locations::Locations;
use crate::snapshot::KindSnapshot;

/// Kinds with histograms of their own, `other` among them.
pub(crate) const MAX_KINDS: usize = 257;

/// Which kind: an index below [`MAX_KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KindId(u16);

impl KindId {
    /// What has no kind of its own.
    pub(crate) const OTHER: Self = Self(0);

    #[inline]
    pub(crate) fn as_u32(self) -> u32 {
        u32::from(self.0)
    }

    #[inline]
    pub(crate) fn from_u32(id: u32) -> Self {
        if (id as usize) < MAX_KINDS { Self(id as u16) } else { Self::OTHER }
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What is known of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskKind {
    /// The name it was given, or its spawn location.
    pub(crate) name: String,
    /// Where its tasks are spawned, if known.
    pub(crate) spawned_at: Option<String>,
}

/// The table. A look-up by location is lock-free, all else is for the moments
/// when something is seen for the first time.
#[derive(Debug)]
pub(crate) struct Kinds {
    #[cfg(tokio_unstable)]
    locations: Locations,
    known: Lock<Known>,
    /// What is counted once a task, from any thread.
    tasks: Box<[TaskCounts]>,
}

/// Counts of a kind's tasks that no worker has to itself.
#[derive(Debug, Default)]
pub(crate) struct TaskCounts {
    pub(crate) spawned: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) large_futures: AtomicU64,
    pub(crate) future_size: AtomicU64,
}

#[derive(Debug)]
struct Known {
    kinds: Vec<TaskKind>,
    by_name: HashMap<String, KindId>,
}

impl Kinds {
    pub(crate) fn new() -> Self {
        let other = TaskKind { name: "other".to_owned(), spawned_at: None };
        Self {
            #[cfg(tokio_unstable)]
            locations: Locations::new(),
            known: Lock::new(Known {
                by_name: HashMap::from([(other.name.clone(), KindId::OTHER)]),
                kinds: vec![other],
            }),
            tasks: (0..MAX_KINDS).map(|_| TaskCounts::default()).collect(),
        }
    }

    /// The kind of a location that has been seen before.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn seen(&self, location: &'static Location<'static>) -> Option<KindId> {
        self.locations.find(location).map(KindId::from_u32)
    }

    /// The kind of a location, which gets one if it has none yet.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn of_location(&self, location: &'static Location<'static>) -> KindId {
        self.seen(location).unwrap_or_else(|| self.of_new_location(location))
    }

    #[cfg(tokio_unstable)]
    #[cold]
    fn of_new_location(&self, location: &'static Location<'static>) -> KindId {
        if self.locations.is_full() {
            return KindId::OTHER;
        }
        let mut known = self.known.lock();
        let text = location.to_string();
        let kind = known.kind_of(&text, Some(&text));
        // Under the lock, so that no two threads put it in.
        self.locations.insert(location, kind.as_u32());
        kind
    }

    /// Counts of a kind's tasks.
    #[inline]
    pub(crate) fn tasks(&self, kind: KindId) -> &TaskCounts {
        &self.tasks[kind.index()]
    }

    /// Adds what is counted here to a snapshot.
    pub(crate) fn add_to(&self, index: usize, snapshot: &mut KindSnapshot) {
        let counts = &self.tasks[index];
        // Ends before beginnings, so that no reading shows more ended.
        snapshot.completed += counts.completed.load(Acquire);
        snapshot.spawned += counts.spawned.load(Acquire);
        snapshot.large_futures += counts.large_futures.load(Relaxed);
        snapshot.future_size = snapshot.future_size.max(counts.future_size.load(Relaxed));
    }

    /// The kind with a name, which is made if there is none yet.
    pub(crate) fn of_name(&self, name: &str) -> KindId {
        self.known.lock().kind_of(name, None)
    }

    /// Says that the tasks of the kind `spawned` turned out to be called
    /// `named`: from now on both count as one. The first name wins.
    pub(crate) fn name(&self, spawned: KindId, named: KindId) {
        let mut known = self.known.lock();
        let name = known.kinds[named.index()].name.clone();
        let kind = &mut known.kinds[spawned.index()];
        let location = kind.spawned_at.clone();
        if spawned != KindId::OTHER && Some(&kind.name) == location.as_ref() {
            kind.name = name;
            known.kinds[named.index()].spawned_at.get_or_insert_with(|| location.unwrap_or_default());
        }
    }

    pub(crate) fn get(&self, kind: KindId) -> TaskKind {
        self.known.lock().kinds[kind.index()].clone()
    }

    pub(crate) fn all(&self) -> Vec<TaskKind> {
        self.known.lock().kinds.clone()
    }
}

impl Known {
    fn kind_of(&mut self, name: &str, spawned_at: Option<&str>) -> KindId {
        if let Some(kind) = self.by_name.get(name) {
            return *kind;
        }
        if self.kinds.len() >= MAX_KINDS {
            return KindId::OTHER;
        }
        let kind = KindId(self.kinds.len() as u16);
        self.kinds.push(TaskKind { name: name.to_owned(), spawned_at: spawned_at.map(str::to_owned) });
        self.by_name.insert(name.to_owned(), kind);
        kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(tokio_unstable)]
    fn a_location_keeps_its_kind_and_takes_a_name() {
        let kinds = Kinds::new();
        let here = Location::caller();
        assert_eq!(kinds.seen(here), None);
        let kind = kinds.of_location(here);
        assert_eq!(kinds.seen(here), Some(kind));
        assert_eq!(kinds.get(kind).name, here.to_string());

        let session = kinds.of_name("session");
        kinds.name(kind, session);
        assert_eq!(kinds.get(kind).name, "session");
        assert_eq!(kinds.get(session).spawned_at, Some(here.to_string()));

        kinds.name(kind, kinds.of_name("another"));
        assert_eq!(kinds.get(kind).name, "session", "the first name wins");
    }

    #[test]
    fn what_is_too_many_is_other() {
        let kinds = Kinds::new();
        for n in 1..MAX_KINDS {
            assert_eq!(kinds.of_name(&n.to_string()).index(), n);
        }
        assert_eq!(kinds.of_name("one more"), KindId::OTHER);
        assert_eq!(kinds.of_name("7").index(), 7);
    }
}
