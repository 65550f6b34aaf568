//! Kinds of tasks: one for each name, and one for each spawn location of tasks
//! without a name. At most [`MAX_KINDS`]; later ones are counted as `other`.

use std::collections::HashMap;
#[cfg(tokio_unstable)]
use std::panic::Location;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use crate::lock::Lock;
#[cfg(tokio_unstable)]
use crate::record::locations::Locations;
use crate::snapshot::KindSnapshot;
#[cfg(tokio_unstable)]
use crate::source_path;

/// How many kinds have their own histograms, including `other`.
pub(crate) const MAX_KINDS: usize = 257;

/// Identifies a kind by an index below [`MAX_KINDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KindId(u16);

impl KindId {
    /// All tasks that have no kind of their own.
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

/// The name of a kind, and where its tasks are spawned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskKind {
    /// The name that was given to it, or else its spawn location.
    pub(crate) name: String,
    /// Where its tasks are spawned, if known.
    pub(crate) spawned_at: Option<String>,
}

/// All kinds of a scope. Looking up a known location is lock-free. Everything
/// else takes a lock and is needed only the first time that a name or location
/// occurs.
#[derive(Debug)]
pub(crate) struct Kinds {
    #[cfg(tokio_unstable)]
    locations: Locations,
    table: Lock<KindTable>,
    /// Counted once for each task, from any thread.
    task_counts: Box<[TaskCounts]>,
}

/// Counts of a kind's tasks that several threads write.
#[derive(Debug, Default)]
pub(crate) struct TaskCounts {
    pub(crate) spawned: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) large_futures: AtomicU64,
    /// The size of the largest future, in bytes.
    pub(crate) largest_future_bytes: AtomicU64,
}

#[derive(Debug)]
struct KindTable {
    kinds: Vec<TaskKind>,
    by_name: HashMap<String, KindId>,
}

impl Kinds {
    pub(crate) fn new() -> Self {
        let other = TaskKind { name: "other".to_owned(), spawned_at: None };
        Self {
            #[cfg(tokio_unstable)]
            locations: Locations::new(),
            table: Lock::new(KindTable {
                by_name: HashMap::from([(other.name.clone(), KindId::OTHER)]),
                kinds: vec![other],
            }),
            task_counts: (0..MAX_KINDS).map(|_| TaskCounts::default()).collect(),
        }
    }

    /// Returns the kind of a known location.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn find_location(&self, location: &'static Location<'static>) -> Option<KindId> {
        self.locations.find(location).map(KindId::from_u32)
    }

    /// Returns the kind of a location. Adds the location if it is new.
    #[cfg(tokio_unstable)]
    #[inline]
    pub(crate) fn for_location(&self, location: &'static Location<'static>) -> KindId {
        self.find_location(location).unwrap_or_else(|| self.insert_location(location))
    }

    #[cfg(tokio_unstable)]
    #[cold]
    fn insert_location(&self, location: &'static Location<'static>) -> KindId {
        if self.locations.is_full() {
            return KindId::OTHER;
        }
        let mut table = self.table.lock();
        let file = source_path::shorten(location.file());
        let text = format!("{file}:{}:{}", location.line(), location.column());
        let kind = table.get_or_insert(&text, Some(&text));
        // The lock is held until here, so that no two threads insert at the
        // same time.
        self.locations.insert(location, kind.as_u32());
        kind
    }

    /// Returns the counts of a kind's tasks.
    #[inline]
    pub(crate) fn task_counts(&self, kind: KindId) -> &TaskCounts {
        &self.task_counts[kind.index()]
    }

    /// Adds the counts of the kind with that index to a snapshot.
    pub(crate) fn add_to(&self, index: usize, snapshot: &mut KindSnapshot) {
        let counts = &self.task_counts[index];
        // Completed tasks are read first. Otherwise a task that is spawned and
        // completed between the two reads would be counted only as completed.
        snapshot.completed += counts.completed.load(Acquire);
        snapshot.spawned += counts.spawned.load(Acquire);
        snapshot.large_futures += counts.large_futures.load(Relaxed);
        snapshot.largest_future_bytes =
            snapshot.largest_future_bytes.max(counts.largest_future_bytes.load(Relaxed));
    }

    /// Returns the kind with a name. Adds it if it is new.
    pub(crate) fn for_name(&self, name: &str) -> KindId {
        self.table.lock().get_or_insert(name, None)
    }

    /// Gives the kind of a spawn location the name of another kind. From now on
    /// exporters show the two kinds as one. If the kind of the location has a
    /// name already, it keeps that name.
    pub(crate) fn assign_name(&self, location_kind: KindId, named_kind: KindId) {
        let mut table = self.table.lock();
        let name = table.kinds[named_kind.index()].name.clone();
        let kind = &mut table.kinds[location_kind.index()];
        let location = kind.spawned_at.clone();
        if location_kind != KindId::OTHER && Some(&kind.name) == location.as_ref() {
            kind.name = name;
            table.kinds[named_kind.index()].spawned_at.get_or_insert_with(|| location.unwrap_or_default());
        }
    }

    pub(crate) fn get(&self, kind: KindId) -> TaskKind {
        self.table.lock().kinds[kind.index()].clone()
    }

    pub(crate) fn all(&self) -> Vec<TaskKind> {
        self.table.lock().kinds.clone()
    }
}

impl KindTable {
    fn get_or_insert(&mut self, name: &str, spawned_at: Option<&str>) -> KindId {
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
        assert_eq!(kinds.find_location(here), None);
        let kind = kinds.for_location(here);
        assert_eq!(kinds.find_location(here), Some(kind));
        assert_eq!(kinds.get(kind).name, here.to_string());

        let session = kinds.for_name("session");
        kinds.assign_name(kind, session);
        assert_eq!(kinds.get(kind).name, "session");
        assert_eq!(kinds.get(session).spawned_at, Some(here.to_string()));

        kinds.assign_name(kind, kinds.for_name("another"));
        assert_eq!(kinds.get(kind).name, "session", "the first name wins");
    }

    #[test]
    fn kinds_beyond_the_limit_are_other() {
        let kinds = Kinds::new();
        for n in 1..MAX_KINDS {
            assert_eq!(kinds.for_name(&n.to_string()).index(), n);
        }
        assert_eq!(kinds.for_name("one more"), KindId::OTHER);
        assert_eq!(kinds.for_name("7").index(), 7);
    }
}
