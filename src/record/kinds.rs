//! Kinds of tasks: one for each name, and one for each spawn location of tasks
//! without a name. At most [`MAX_KINDS`]; later ones are counted as `other`.

use std::collections::HashMap;
#[cfg(tokio_unstable)]
use std::panic::Location;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use crate::lock::Lock;
#[cfg(tokio_unstable)]
use crate::record::static_keys::StaticKey;
use crate::record::static_keys::StaticKeys;
use crate::record::totals::KindTotals;
use crate::snapshot::KindSnapshot;
#[cfg(tokio_unstable)]
use crate::source_path;

/// How many kinds have their own histograms, including `other`.
pub(crate) const MAX_KINDS: usize = 257;

/// Entries of the table of names. There are more than kinds, because a name may
/// have several addresses, and a program may create names as it runs.
const NAME_ENTRIES: usize = 1024;
/// Entries of the table that is used once the first one is full. Until then it
/// occupies no memory. Names that fit into neither are `other`.
const MORE_NAME_ENTRIES: usize = 65_536;
/// Entries of the table of spawn locations. There are more than kinds, because
/// the same source line may have several addresses.
#[cfg(tokio_unstable)]
const LOCATION_ENTRIES: usize = 4096;
/// Entries of the table that is used once the first one is full. Until then it
/// occupies no memory. Tasks of locations that fit into neither are not counted
/// as spawned or completed.
#[cfg(tokio_unstable)]
const MORE_LOCATION_ENTRIES: usize = 65_536;

/// Identifies a kind by an index below [`MAX_KINDS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
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

/// All kinds of a scope. Looking up a known name or location is lock-free.
/// Everything else takes a lock and is needed only the first time that a name
/// or location occurs.
#[derive(Debug)]
pub(crate) struct Kinds {
    names: StaticKeys,
    more_names: StaticKeys,
    #[cfg(tokio_unstable)]
    locations: StaticKeys,
    #[cfg(tokio_unstable)]
    more_locations: StaticKeys,
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
    /// Tasks of this spawn location that had a name: see
    /// [`KindTotals`].
    pub(crate) named_completed: AtomicU64,
    /// Those of them that had another name than the first one.
    pub(crate) other_names_completed: AtomicU64,
    /// The kind of the first name of a task that was spawned at this location;
    /// zero if there is none.
    first_name: AtomicU32,
    /// Whether tasks of several names are spawned at this location.
    has_several_names: AtomicBool,
    /// Whether the spawn location of this name is known.
    has_location: AtomicBool,
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
            names: StaticKeys::with_capacity(NAME_ENTRIES),
            more_names: StaticKeys::with_capacity(MORE_NAME_ENTRIES),
            #[cfg(tokio_unstable)]
            locations: StaticKeys::with_capacity(LOCATION_ENTRIES),
            #[cfg(tokio_unstable)]
            more_locations: StaticKeys::with_capacity(MORE_LOCATION_ENTRIES),
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
        let number = self.locations.find(location.into());
        number.or_else(|| self.find_in_more_locations(location)).map(KindId::from_u32)
    }

    #[cfg(tokio_unstable)]
    fn find_in_more_locations(&self, location: &'static Location<'static>) -> Option<u32> {
        self.locations.is_full().then(|| self.more_locations.find(location.into()))?
    }

    /// Returns the kind of a known location, by its address.
    #[cfg(tokio_unstable)]
    pub(crate) fn find_location_at(&self, address: usize) -> Option<KindId> {
        let key = StaticKey::from_location_address(address);
        self.locations.find(key).or_else(|| self.more_locations.find(key)).map(KindId::from_u32)
    }

    /// Returns the kind of a location. Adds the location if it is new. Returns
    /// `None` if there are too many locations.
    #[cfg(tokio_unstable)]
    pub(crate) fn for_location(&self, location: &'static Location<'static>) -> Option<KindId> {
        self.find_location(location).or_else(|| self.insert_location(location))
    }

    #[cfg(tokio_unstable)]
    #[cold]
    fn insert_location(&self, location: &'static Location<'static>) -> Option<KindId> {
        let locations = if self.locations.is_full() { &self.more_locations } else { &self.locations };
        if locations.is_full() {
            return None;
        }
        let mut table = self.table.lock();
        let file = source_path::shorten(location.file());
        let text = format!("{file}:{}:{}", location.line(), location.column());
        let kind = table.get_or_insert(&text, Some(&text));
        // The lock is held until here, so that no two threads insert at the
        // same time.
        locations.insert(location.into(), kind.as_u32());
        Some(kind)
    }

    /// Returns the counts of a kind's tasks.
    #[inline]
    pub(crate) fn task_counts(&self, kind: KindId) -> &TaskCounts {
        &self.task_counts[kind.index()]
    }

    /// Returns how many kinds are known.
    pub(crate) fn len(&self) -> usize {
        self.table.lock().kinds.len()
    }

    /// Returns a snapshot for each name. `totals` has what threads recorded
    /// about each kind, by index.
    pub(crate) fn snapshots(&self, totals: Vec<KindTotals>) -> Vec<KindSnapshot> {
        self.snapshots_of(&self.all(), totals)
    }

    /// A worker may add a name at any time, so a spawn location may have a name
    /// that is not among `kinds`. Until the next snapshot it counts as none.
    fn snapshots_of(&self, kinds: &[TaskKind], totals: Vec<KindTotals>) -> Vec<KindSnapshot> {
        let mut merged: Vec<_> =
            kinds.iter().map(|kind| KindSnapshot { name: kind.name.clone(), ..Default::default() }).collect();
        for (index, mut totals) in totals.into_iter().take(kinds.len()).enumerate() {
            let counts = &self.task_counts[index];
            counts.add_to(&mut totals);
            let first_name = Some(counts.first_name.load(Acquire) as usize);
            match first_name.filter(|name| (1..kinds.len()).contains(name)) {
                Some(first_name) if counts.has_several_names.load(Acquire) => {
                    // Only tasks that have ended are known to have had no name.
                    let unnamed = totals.completed.saturating_sub(totals.named_completed);
                    merged[first_name].spawned += totals.named.saturating_sub(totals.other_names);
                    merged[first_name].completed +=
                        totals.named_completed.saturating_sub(totals.other_names_completed);
                    (totals.spawned, totals.completed) = (unnamed, unnamed);
                    totals.add_to(&mut merged[index]);
                }
                first_name => totals.add_to(&mut merged[first_name.unwrap_or(index)]),
            }
            let kind = &mut merged[index];
            kind.large_futures += counts.large_futures.load(Relaxed);
            kind.largest_future_bytes =
                kind.largest_future_bytes.max(counts.largest_future_bytes.load(Relaxed));
        }
        // Tokio measures a delay before the name of the task is known.
        merged.retain(|kind| kind.spawned > 0 || kind.poll_time.count > 0 || kind.schedule_delay.count > 0);
        merged
    }

    /// Returns the kind with a name. Adds it if it is new.
    #[inline]
    pub(crate) fn for_static_name(&self, name: &'static str) -> KindId {
        self.find_name(name).unwrap_or_else(|| self.insert_name(name))
    }

    /// Returns the kind of a known name.
    #[inline]
    fn find_name(&self, name: &'static str) -> Option<KindId> {
        let number = self.names.find(name.into());
        number.or_else(|| self.find_in_more_names(name)).map(KindId::from_u32)
    }

    fn find_in_more_names(&self, name: &'static str) -> Option<u32> {
        self.names.is_full().then(|| self.more_names.find(name.into()))?
    }

    #[cold]
    fn insert_name(&self, name: &'static str) -> KindId {
        let names = if self.names.is_full() { &self.more_names } else { &self.names };
        if names.is_full() {
            return KindId::OTHER;
        }
        let mut table = self.table.lock();
        let kind = table.get_or_insert(name, None);
        // The lock is held until here: see `insert_location`.
        names.insert(name.into(), kind.as_u32());
        kind
    }

    /// Returns the kind with a name. Adds it if it is new.
    #[cfg(any(test, feature = "attach"))]
    pub(crate) fn for_name(&self, name: &str) -> KindId {
        self.table.lock().get_or_insert(name, None)
    }

    /// Notes that a task of a spawn location has a name. Returns whether it is
    /// the first name there. As long as it is the only one, exporters show the
    /// two kinds as one.
    #[inline]
    pub(crate) fn name_task(&self, location: KindId, name: KindId) -> bool {
        let [of_location, of_name] = [location, name].map(|kind| self.task_counts(kind));
        if location == KindId::OTHER || name == KindId::OTHER {
            return true;
        }
        let mut first_name = of_location.first_name.load(Acquire);
        if first_name == 0 || !of_name.has_location.load(Relaxed) {
            first_name = self.add_name(location, name);
        }
        let is_first = first_name == name.as_u32();
        if !is_first && !of_location.has_several_names.load(Relaxed) {
            of_location.has_several_names.store(true, Release);
        }
        is_first
    }

    #[cold]
    fn add_name(&self, location: KindId, name: KindId) -> u32 {
        let mut table = self.table.lock();
        let spawned_at = table.kinds[location.index()].spawned_at.clone();
        let named = &mut table.kinds[name.index()];
        named.spawned_at = named.spawned_at.take().or(spawned_at);
        self.task_counts(name).has_location.store(true, Relaxed);
        let first_name = &self.task_counts(location).first_name;
        match first_name.compare_exchange(0, name.as_u32(), AcqRel, Acquire) {
            Ok(_) => name.as_u32(),
            Err(first_name) => first_name,
        }
    }

    /// Returns the kind as exporters show it.
    pub(crate) fn get(&self, kind: KindId) -> TaskKind {
        let counts = self.task_counts(kind);
        let first_name = KindId::from_u32(counts.first_name.load(Acquire));
        let has_one_name = first_name != KindId::OTHER && !counts.has_several_names.load(Acquire);
        let table = self.table.lock();
        let TaskKind { name, .. } = &table.kinds[if has_one_name { first_name } else { kind }.index()];
        TaskKind { name: name.clone(), spawned_at: table.kinds[kind.index()].spawned_at.clone() }
    }

    fn all(&self) -> Vec<TaskKind> {
        self.table.lock().kinds.clone()
    }
}

impl TaskCounts {
    fn add_to(&self, totals: &mut KindTotals) {
        // Completed tasks are read first. Otherwise a task that is spawned and
        // completed between the two reads would be counted only as completed.
        totals.completed += self.completed.load(Acquire);
        totals.spawned += self.spawned.load(Acquire);
        totals.named_completed += self.named_completed.load(Relaxed);
        totals.other_names_completed += self.other_names_completed.load(Relaxed);
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
        let kind = kinds.for_location(here).unwrap();
        assert_eq!(kinds.find_location(here), Some(kind));
        assert_eq!(kinds.get(kind).name, here.to_string());

        let session = kinds.for_static_name("session");
        assert_eq!(kinds.for_name("session"), session);
        assert!(kinds.name_task(kind, session));
        assert_eq!(kinds.get(kind).name, "session");
        assert_eq!(kinds.get(session).spawned_at, Some(here.to_string()));

        let another = kinds.for_static_name("another");
        assert!(!kinds.name_task(kind, another) && kinds.name_task(kind, session));
        assert_eq!(kinds.get(kind).name, here.to_string(), "it has several names now");
        assert_eq!(kinds.get(another).spawned_at, Some(here.to_string()));
    }

    #[test]
    #[cfg(tokio_unstable)]
    fn a_name_that_is_added_during_a_snapshot_is_in_the_next() {
        let kinds = Kinds::new();
        let location = kinds.for_location(Location::caller()).unwrap();
        let totals = || {
            let mut totals = vec![KindTotals::default(); kinds.len()];
            totals[location.index()].spawned = 1;
            totals
        };
        let spawned = |snapshots: Vec<KindSnapshot>| -> Vec<_> {
            snapshots.into_iter().map(|kind| (kind.name, kind.spawned)).collect()
        };
        let known = kinds.all();
        for name in ["session", "another"] {
            kinds.name_task(location, kinds.for_static_name(name));
            let now = spawned(kinds.snapshots_of(&known, totals()));
            assert_eq!(now, [(known[location.index()].name.clone(), 1)]);
        }
        let mut totals = totals();
        totals[location.index()].named = 1;
        assert_eq!(spawned(kinds.snapshots(totals)), [("session".to_owned(), 1)]);
    }

    #[test]
    #[cfg(tokio_unstable)]
    fn locations_without_a_kind_of_their_own_are_known() {
        let kinds = Kinds::new();
        let leaked = || -> &'static Location<'static> { Box::leak(Box::new(*Location::caller())) };
        for n in 0..LOCATION_ENTRIES {
            kinds.for_name(&n.to_string());
            let location = leaked();
            assert!(kinds.find_location(location).is_none());
            let kind = kinds.for_location(location);
            assert!(kind.is_some() && kinds.find_location(location) == kind);
        }
    }

    /// A known name is found without a lock.
    #[test]
    fn names_without_a_kind_of_their_own_are_known() {
        let kinds = Kinds::new();
        for n in 0..2 * NAME_ENTRIES {
            let name: &'static str = n.to_string().leak();
            assert_eq!(kinds.find_name(name), None);
            let kind = kinds.for_static_name(name);
            assert_eq!(kinds.find_name(name), Some(kind));
            assert_eq!(kind == KindId::OTHER, n + 1 >= MAX_KINDS);
        }
    }

    #[test]
    fn names_beyond_both_tables_are_other_and_take_no_lock() {
        let kinds = Kinds::new();
        // One name, at many addresses.
        let names: &'static str = "n".repeat(NAME_ENTRIES + MORE_NAME_ENTRIES).leak();
        let names = (0..names.len()).map(|at| &names[at..=at]);
        let found: Vec<_> = names.clone().map(|name| kinds.for_static_name(name)).collect();
        let own = found.iter().filter(|kind| **kind != KindId::OTHER).count();
        assert_eq!(own, (NAME_ENTRIES + MORE_NAME_ENTRIES) / 4 * 3);
        let table = kinds.table.lock();
        assert!(names.zip(&found).all(|(name, kind)| kinds.for_static_name(name) == *kind));
        drop(table);
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
