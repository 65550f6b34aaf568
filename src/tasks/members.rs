//! Which of the places that look like tasks are tasks: those that are in a list
//! of a scheduler.

use std::collections::{HashMap, HashSet};

use crate::tasks::cell::{self, Cell, TRAILER_WORDS};
use crate::tasks::memory::Memory;
use crate::tasks::owner::Lists;
use crate::tasks::pool::{self, QueueBudget};
use crate::tasks::state;
use crate::tasks::vtables::Vtables;

/// How often what does not fit together is read.
const ROUNDS: usize = 3;
/// How often it is read if it is little.
const MAX_ROUNDS: usize = 20;
const MAX_UNFIT: usize = 2048;
/// The number of tasks that are added because a list leads to them.
const MAX_FOLLOWED: usize = 1 << 17;
const MAX_SCHEDULERS: usize = 4096;
/// The arrays of lists that are read have at most this many bytes.
const MAX_ARRAY_BYTES: usize = 16 << 20;
/// The number of schedulers whose blocking pools are read.
const MAX_POOLS: usize = 256;
const OWNER_ID_LIMIT: u64 = 1 << 48;

/// The places that look like tasks, by the address of their headers.
pub(super) struct Members<'m, M> {
    memory: &'m M,
    vtables: &'m Vtables,
    cells: HashMap<u64, Cell>,
    /// Read in vain.
    absent: HashSet<u64>,
    /// By scheduler.
    lists: HashMap<u64, Lists>,
    /// By program or library: the word of the trailer at which the two list
    /// pointers begin.
    pointers: HashMap<usize, usize>,
    array_bytes_left: usize,
    followed: usize,
    /// Whether a limit left out tasks that a list leads to.
    pub(super) has_left_out: bool,
}

impl<'m, M: Memory> Members<'m, M> {
    pub(super) fn new(memory: &'m M, vtables: &'m Vtables, cells: HashMap<u64, Cell>) -> Self {
        let mut members = Self {
            memory,
            vtables,
            cells,
            absent: HashSet::new(),
            lists: HashMap::new(),
            pointers: HashMap::new(),
            array_bytes_left: MAX_ARRAY_BYTES,
            followed: 0,
            has_left_out: false,
        };
        let all: Vec<u64> = members.cells.keys().copied().collect();
        members.read_lists(&all);
        members.find_pointers();
        members
    }

    /// Returns the tasks that are in lists, and the number of those that did
    /// not fit together in any reading.
    pub(super) fn confirm(&mut self) -> (Vec<Cell>, usize) {
        let mut confirmed = HashMap::new();
        let mut new: Vec<u64> = self.cells.keys().copied().collect();
        for round in 1.. {
            new.extend(self.follow(&new));
            for cell in new.iter().filter_map(|header| self.cells.get(header)) {
                // What was a task once is not asked again: its neighbours may
                // have ended since. The second reading finds out whether it
                // still exists.
                if !confirmed.contains_key(&cell.header) && self.is_member(cell) {
                    confirmed.insert(cell.header, cell.clone());
                }
            }
            let is_unfit = |cell: &&Cell| is_candidate(cell) && !confirmed.contains_key(&cell.header);
            let unfit: Vec<u64> = self.cells.values().filter(is_unfit).map(|cell| cell.header).collect();
            let is_last = round >= MAX_ROUNDS || (round >= ROUNDS && unfit.len() > MAX_UNFIT);
            if unfit.is_empty() || is_last {
                return (confirmed.into_values().collect(), unfit.len());
            }
            new = self.read_again(&unfit);
        }
        (Vec::new(), 0)
    }

    /// Returns whether the task points to a scheduler that has its owner's id.
    pub(super) fn has_scheduler(&self, cell: &Cell) -> bool {
        self.lists.get(&cell.scheduler).is_some_and(|lists| lists.has_owner)
    }

    /// Returns the tasks that have ended and whose output waits for a
    /// `JoinHandle`. They are in no list. Memory that was freed has no
    /// reference left.
    pub(super) fn ended(&self) -> Vec<Cell> {
        let is_ended = |cell: &&Cell| {
            is_owned(cell)
                && cell.is_complete()
                && cell.state & state::JOIN_INTEREST != 0
                && cell.queue_next == 0
                && self.has_scheduler(cell)
        };
        self.cells.values().filter(is_ended).cloned().collect()
    }

    /// Returns the jobs of the blocking pool that run or wait for a thread, and
    /// the number of those that look as if they wait but are in no queue that
    /// was found.
    pub(super) fn jobs(&mut self) -> (Vec<Cell>, usize) {
        let (new, others): (Vec<&Cell>, Vec<&Cell>) =
            self.cells.values().filter(|cell| is_job(cell)).partition(|cell| cell.state == state::INITIAL);
        let mut jobs: HashMap<u64, Cell> =
            others.into_iter().map(|cell| (cell.header, cell.clone())).collect();
        // Copies of new jobs remain where they were created.
        let mut uncertain: HashSet<u64> = new.into_iter().map(|cell| cell.header).collect();
        let handles = self.lists.iter().filter(|(_, lists)| lists.has_owner).map(|(handle, _)| *handle);
        let mut budget = QueueBudget::default();
        for handle in handles.take(MAX_POOLS) {
            if uncertain.is_empty() {
                break;
            }
            let queued = pool::queued_jobs(self.memory, self.vtables, handle, &mut budget);
            for cell in queued.into_iter().filter(is_job) {
                uncertain.remove(&cell.header);
                jobs.insert(cell.header, cell);
            }
        }
        self.has_left_out |= budget.has_left_out;
        let uncertain = uncertain.len();
        (jobs.into_values().collect(), uncertain)
    }

    /// Reads the lists of the schedulers that tasks point to.
    fn read_lists(&mut self, headers: &[u64]) {
        let cells = headers.iter().filter_map(|header| self.cells.get(header));
        let owners: HashMap<u64, u64> =
            cells.filter(|cell| is_owned(cell)).map(|cell| (cell.scheduler, cell.owner)).collect();
        for (scheduler, owner) in owners.into_iter().take(MAX_SCHEDULERS) {
            let lists = Lists::read(self.memory, scheduler, owner, &mut self.array_bytes_left);
            self.lists.insert(scheduler, lists);
        }
    }

    /// Finds where the list pointers are. The trailer has the layout that the
    /// compiler chose: the right place is the one at which the neighbours of
    /// the tasks point back.
    fn find_pointers(&mut self) {
        let mut votes: HashMap<usize, [usize; TRAILER_WORDS - 1]> = HashMap::new();
        for cell in self.cells.values().filter(|cell| is_candidate(cell)) {
            let Some(image) = self.vtables.image_of(cell.vtable.address) else { continue };
            for (at, votes) in votes.entry(image).or_default().iter_mut().enumerate() {
                let next = cell.trailer.get(at + 1).and_then(|next| self.cells.get(next));
                let is_link = next.is_some_and(|next| {
                    next.trailer.get(at) == Some(&cell.header) && next.scheduler == cell.scheduler
                });
                *votes += usize::from(is_link);
            }
        }
        self.pointers.clear();
        for (image, votes) in votes {
            let best = votes.iter().enumerate().max_by_key(|(_, votes)| **votes);
            if let Some((at, _)) = best.filter(|(_, votes)| **votes > 0) {
                self.pointers.insert(image, at);
            }
        }
    }

    /// Returns the addresses of the neighbours in the list; zero at its ends.
    fn neighbours(&self, cell: &Cell) -> Option<[u64; 2]> {
        let at = *self.pointers.get(&self.vtables.image_of(cell.vtable.address)?)?;
        Some([*cell.trailer.get(at)?, *cell.trailer.get(at + 1)?])
    }

    /// Returns whether the task is in a list: its neighbours point back, and
    /// its scheduler points to it where it has no neighbour.
    fn is_member(&self, cell: &Cell) -> bool {
        if !is_candidate(cell) {
            return false;
        }
        let Some(lists) = self.lists.get(&cell.scheduler).filter(|lists| lists.has_owner) else {
            return false;
        };
        let Some([first, second]) = self.neighbours(cell) else {
            let has_no_neighbours = cell.trailer.windows(2).any(|pair| pair == [0, 0]);
            return has_no_neighbours && lists.singles.contains(&cell.header);
        };
        let points_back = |neighbour: u64, back: usize| {
            let neighbour = self.cells.get(&neighbour);
            neighbour.is_some_and(|neighbour| {
                self.neighbours(neighbour).and_then(|both| both.get(back).copied()) == Some(cell.header)
                    && neighbour.scheduler == cell.scheduler
                    && neighbour.owner == cell.owner
            })
        };
        match (first, second) {
            (0, 0) => lists.singles.contains(&cell.header),
            (0, next) => lists.ends.contains(&cell.header) && points_back(next, 0),
            (previous, 0) => lists.ends.contains(&cell.header) && points_back(previous, 1),
            (previous, next) => points_back(previous, 1) && points_back(next, 0),
        }
    }

    /// Adds the tasks that lists and the given tasks lead to. Returns the
    /// addresses of their headers.
    fn follow(&mut self, from: &[u64]) -> Vec<u64> {
        let mut added = Vec::new();
        let mut from = from.to_vec();
        let mut ends: Vec<u64> = self.lists.values().flat_map(|lists| lists.ends.iter().copied()).collect();
        loop {
            let neighbours =
                from.iter().filter_map(|header| self.cells.get(header)).filter(|cell| is_candidate(cell));
            let mut new: Vec<u64> = neighbours.filter_map(|cell| self.neighbours(cell)).flatten().collect();
            new.append(&mut ends);
            new.retain(|header| {
                *header != 0 && !self.cells.contains_key(header) && !self.absent.contains(header)
            });
            new.sort_unstable();
            new.dedup();
            let room = MAX_FOLLOWED.saturating_sub(self.followed);
            self.has_left_out |= new.len() > room;
            new.truncate(room);
            if new.is_empty() {
                return added;
            }
            self.followed += new.len();
            for (header, cell) in new.iter().zip(cell::read(self.memory, self.vtables, &new)) {
                match cell {
                    Some(cell) => drop(self.cells.insert(*header, cell)),
                    None => drop(self.absent.insert(*header)),
                }
            }
            added.extend_from_slice(&new);
            from = new;
        }
    }

    /// Reads what does not fit together, what is around it, and the lists.
    /// Returns the addresses of what was read.
    fn read_again(&mut self, unfit: &[u64]) -> Vec<u64> {
        let around = unfit.iter().filter_map(|header| self.cells.get(header)).flat_map(|cell| {
            let [first, second] = self.neighbours(cell).unwrap_or_default();
            [cell.header, first, second]
        });
        let mut headers: Vec<u64> = around.filter(|header| *header != 0).collect();
        headers.sort_unstable();
        headers.dedup();
        for (header, cell) in headers.iter().zip(cell::read(self.memory, self.vtables, &headers)) {
            match cell {
                Some(cell) => drop(self.cells.insert(*header, cell)),
                None => drop(self.cells.remove(header)),
            }
        }
        self.absent.clear();
        self.read_lists(unfit);
        let mut unfit = unfit.iter().filter_map(|header| self.cells.get(header));
        if unfit.any(|cell| self.neighbours(cell).is_none()) {
            self.find_pointers();
        }
        headers
    }
}

/// Returns whether a place looks like a task of a list.
fn is_candidate(cell: &Cell) -> bool {
    is_owned(cell) && !cell.is_complete()
}

/// Returns whether a place looks like a task that is or was in a list.
fn is_owned(cell: &Cell) -> bool {
    !cell.vtable.is_blocking()
        && cell.is_plausible()
        && (1..OWNER_ID_LIMIT).contains(&cell.owner)
        && cell.scheduler != 0
        && cell.id != 0
}

/// Returns whether a place looks like a job that runs or waits for a thread.
fn is_job(cell: &Cell) -> bool {
    cell.vtable.is_blocking()
        && cell.is_plausible()
        && !cell.is_complete()
        && (cell.owner, cell.queue_next) == (0, 0)
        && cell.id != 0
        && cell.state & (state::RUNNING | state::NOTIFIED) != 0
}
