//! Memory that is made up: of a small Tokio, and of hostile processes.

use std::cell::Cell as Counter;
use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::ops::Range;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::task::{Id, LocalSet};

use crate::process::Process;
use crate::tasks::memory::{Areas, ImageArea, Memory, PageList, Pages};
use crate::tasks::search::Budget;
use crate::tasks::vtables::Vtables;
use crate::tasks::{FoundTask, TaskList, TaskReader, WaitList, headers, read, state, wait_list, workers};

const CODE: Range<u64> = 0x1000..0x2000;
const TABLES: u64 = 0x10_000;
const NAME: u64 = 0x10_800;
const LOCATION: u64 = 0x10_900;
const DATA: Range<u64> = 0x10_000..0x11_000;
const HEAP: Range<u64> = 0x100_000..0x120_000;
const HANDLE: u64 = HEAP.start;
const LISTS: u64 = HEAP.start + 0x1800;
const POOL: u64 = HEAP.start + 0x2000;
const QUEUE: u64 = HEAP.start + 0x3000;
const TASKS: u64 = HEAP.start + 0x4000;
const OWNER: u64 = 5;
/// Idle, with the reference of its list and one of a waker.
const IDLE: u64 = 2 << 6;
const NEW: u64 = 3 << 6 | 1 << 3 | 1 << 2;
const MAX_BYTES: u64 = 1 << 30;
/// The most that one reading of the made-up memory may copy.
const MAX_COPIED_BYTES: u64 = 64 << 20;

/// Words at addresses. All other words are zero.
#[derive(Debug, Clone, Default)]
struct Fake {
    words: BTreeMap<u64, u64>,
    /// Whether a word has another value in every reading, as a process that
    /// runs changes it.
    is_changing: bool,
    /// Whether it is not known which pages are present.
    has_no_page_list: bool,
    copied: Counter<u64>,
    /// The number of calls that read memory.
    readings: Counter<u64>,
}

impl Fake {
    fn set(&mut self, address: u64, words: &[u64]) {
        self.words.extend(words.iter().enumerate().map(|(at, word)| (address + 8 * at as u64, *word)));
    }

    /// A Tokio with a table of functions for futures and one for jobs.
    fn tokio() -> Self {
        let mut fake = Self::default();
        let functions: Vec<u64> = (0..7).map(|at| CODE.start + 16 * at).collect();
        fake.set(TABLES, &functions);
        fake.set(TABLES + 56, &[96, 32, 40, 48]);
        fake.set(TABLES + 88, &functions);
        fake.set(TABLES + 88 + 56, &[96, 32, 48, 56]);
        fake.words.insert(NAME, u64::from_le_bytes(*b"src/a.rs"));
        fake.set(LOCATION, &[NAME, 8, 12 | 5 << 32]);
        fake.set(HANDLE, &[1, 1, OWNER, POOL]);
        fake
    }

    fn task(&mut self, at: u64, state: u64, list: [u64; 2]) -> u64 {
        let header = TASKS + 256 * at;
        self.set(header, &[state, 0, TABLES, OWNER, HANDLE, at + 1, LOCATION]);
        self.set(header + 96 + 16, &list);
        header
    }

    fn job(&mut self, at: u64, state: u64) -> u64 {
        let header = TASKS + 256 * at;
        self.set(header, &[state, 0, TABLES + 88, 0, 0, 0, at + 1, LOCATION]);
        header
    }

    /// An array of lists, as Tokio has it since 1.37.
    fn lists(&mut self, lists: &[[u64; 2]; 4]) {
        self.set(HANDLE + 64, &[LISTS, 4, 9, 9, 3]);
        for (at, [first, last]) in lists.iter().enumerate() {
            self.set(LISTS + 24 * at as u64, &[0, *first, *last]);
        }
    }

    fn headers(&self) -> Vec<u64> {
        self.read().tasks.iter().map(|task| task.header).collect()
    }

    fn read(&self) -> TaskList {
        self.copied.set(0);
        self.readings.set(0);
        let list = read(self, MAX_BYTES);
        assert!(self.copied.get() <= MAX_COPIED_BYTES, "{} bytes were copied", self.copied.get());
        list
    }
}

impl Memory for Fake {
    fn areas(&self) -> Areas {
        let image = ImageArea { path: "/bin/server".to_owned(), code: vec![CODE], data: vec![DATA] };
        Areas { images: vec![image], heap: vec![HEAP] }
    }

    fn read_into(&self, address: u64, buffer: &mut [u8]) -> usize {
        self.readings.set(self.readings.get() + 1);
        let Some(range) = [CODE, DATA, HEAP].into_iter().find(|range| range.contains(&address)) else {
            return 0;
        };
        let length = buffer.len().min((range.end - address) as usize);
        let buffer = &mut buffer[..length];
        buffer.fill(0);
        for (word_address, word) in self.words.range(address.saturating_sub(7)..address + length as u64) {
            let word = word.wrapping_add(if self.is_changing { self.copied.get() / 64 % 3 * 128 } else { 0 });
            for (at, byte) in (*word_address..).zip(word.to_le_bytes()) {
                if let Some(place) = at.checked_sub(address).and_then(|at| buffer.get_mut(at as usize)) {
                    *place = byte;
                }
            }
        }
        self.copied.set(self.copied.get() + length as u64);
        length
    }

    fn read_pieces(&self, pieces: &[(usize, usize)], buffer: &mut [u8]) -> usize {
        let mut total = 0;
        for (address, length) in pieces {
            let read = self.read_into(*address as u64, &mut buffer[total..total + length]);
            total += read;
            if read < *length {
                break;
            }
        }
        total
    }

    fn pages(&self, range: &Range<u64>, _: Pages) -> Option<PageList> {
        (!self.has_no_page_list).then(|| PageList { parts: vec![range.clone()], swapped_bytes: 0 })
    }
}

/// The own memory of a process, all of which looks like tasks.
struct OwnTasks(Fake);

impl Memory for OwnTasks {
    fn areas(&self) -> Areas {
        self.0.areas()
    }

    fn read_into(&self, address: u64, buffer: &mut [u8]) -> usize {
        if DATA.contains(&address) {
            return self.0.read_into(address, buffer);
        }
        for (at, word) in (address..).step_by(8).zip(buffer.as_chunks_mut().0) {
            *word = if at % 128 == 16 { TABLES } else { 0 }.to_le_bytes();
        }
        buffer.len()
    }

    fn read_pieces(&self, pieces: &[(usize, usize)], buffer: &mut [u8]) -> usize {
        self.0.read_pieces(pieces, buffer)
    }

    fn is_own(&self) -> bool {
        true
    }

    fn pages(&self, range: &Range<u64>, pages: Pages) -> Option<PageList> {
        self.0.pages(range, pages)
    }
}

#[test]
fn the_readers_own_copies_are_not_searched_for_tasks() {
    let memory = OwnTasks(Fake::tokio());
    let mut budget = Budget::new(MAX_BYTES);
    let vtables = Vtables::find(&memory, &memory.areas(), &mut budget);
    let copies = budget.copies(&memory);
    assert!(copies.end - copies.start >= 1 << 20, "{copies:?}");
    let areas = Areas { heap: vec![HEAP, copies.clone()], ..memory.areas() };
    let found = headers(&memory, &areas, &vtables, &mut budget, &mut Vec::new());
    assert_eq!(found.len() as u64, (HEAP.end - HEAP.start) / 128);
    assert!(found.iter().all(|header| HEAP.contains(header)));
    assert_eq!(budget.copies(&Fake::tokio()), 0..0, "another process");
}

#[test]
fn tasks_of_an_array_of_lists_are_found() {
    let mut fake = Fake::tokio();
    let [a, b, c] = [TASKS, TASKS + 256, TASKS + 512];
    fake.task(0, IDLE, [0, b]);
    fake.task(1, IDLE, [a, 0]);
    fake.task(2, IDLE, [0, 0]);
    fake.lists(&[[a, b], [0, 0], [c, c], [0, 0]]);
    let list = fake.read();
    assert_eq!(list.tasks.iter().map(|task| task.header).collect::<Vec<_>>(), [a, b, c]);
    assert_eq!(list.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    let task = &list.tasks[0];
    assert_eq!((task.owner, task.scheduler, task.state), (Some(OWNER), Some(HANDLE), IDLE));
    assert_eq!(task.spawned_at.as_deref(), Some("src/a.rs:12:5"));
    assert_eq!((list.candidates, list.torn), (3, 0));
}

#[test]
fn tasks_of_one_list_are_found() {
    let mut fake = Fake::tokio();
    let [a, b, c] = [TASKS, TASKS + 256, TASKS + 512];
    fake.task(0, IDLE, [0, b]);
    fake.task(1, IDLE, [a, c]);
    fake.task(2, NEW, [b, 0]);
    fake.set(HANDLE + 64, &[a, c]);
    assert_eq!(fake.headers(), [a, b, c]);
}

#[test]
fn a_task_alone_needs_its_scheduler() {
    let mut fake = Fake::tokio();
    let task = fake.task(0, IDLE, [0, 0]);
    assert!(fake.headers().is_empty());
    assert_eq!(fake.read().torn, 1);
    fake.lists(&[[0, 0], [task, task], [0, 0], [0, 0]]);
    assert_eq!(fake.headers(), [task]);
}

#[test]
fn a_copy_that_no_neighbour_points_to_is_no_task() {
    let mut fake = Fake::tokio();
    let [a, b] = [TASKS, TASKS + 256];
    fake.task(0, IDLE, [0, b]);
    fake.task(1, IDLE, [a, 0]);
    fake.task(2, IDLE, [a, 0]);
    fake.task(3, IDLE, [0, b]);
    fake.lists(&[[a, b], [0, 0], [0, 0], [0, 0]]);
    assert_eq!(fake.headers(), [a, b]);
}

#[test]
fn a_freed_task_is_not_listed() {
    let mut fake = Fake::tokio();
    let task = fake.task(0, 0, [0, 0]);
    let ended = fake.task(1, 1 << 1, [0, 0]);
    fake.lists(&[[task, task], [ended, ended], [0, 0], [0, 0]]);
    let list = fake.read();
    assert!(list.tasks.is_empty());
    assert_eq!((list.candidates, list.torn), (0, 0));
}

#[test]
fn an_ended_task_is_listed_while_its_output_waits() {
    let mut fake = Fake::tokio();
    let alive = fake.task(0, IDLE, [0, 0]);
    let ended = fake.task(1, 1 << 6 | 1 << 3 | 1 << 1, [0, 0]);
    fake.task(2, 1 << 6 | 1 << 1, [0, 0]);
    fake.lists(&[[alive, alive], [0, 0], [0, 0], [0, 0]]);
    assert_eq!(fake.headers(), [alive, ended]);
}

#[test]
fn a_new_job_needs_the_queue_of_the_pool() {
    let mut fake = Fake::tokio();
    let task = fake.task(0, IDLE, [0, 0]);
    fake.lists(&[[task, task], [0, 0], [0, 0], [0, 0]]);
    let running = fake.job(1, 2 << 6 | 1);
    let queued = fake.job(2, NEW);
    assert_eq!(fake.headers(), [task, running]);
    assert_eq!(fake.read().candidates, 3);
    // The queue begins in its last slot.
    fake.set(POOL + 40, &[4, QUEUE, 3, 1]);
    fake.set(QUEUE + 48, &[queued, 1]);
    assert_eq!(fake.headers(), [task, running, queued]);
}

#[test]
fn a_pool_with_many_endless_queues_is_read_up_to_a_limit() {
    let mut fake = Fake::tokio();
    let task = fake.task(0, IDLE, [0, 0]);
    fake.lists(&[[task, task], [0, 0], [0, 0], [0, 0]]);
    fake.job(1, NEW);
    let running = fake.job(2, 2 << 6 | 1);
    fake.set(QUEUE, &[running, 1]);
    // Every word of the scheduler's memory points to a pool full of queues, of
    // which only the first slot has a job.
    for at in 0..64 {
        let pool = HEAP.end - 0x8000 + 512 * at;
        fake.set(HANDLE + 512 + 8 * at, &[pool]);
        for queue in 0..16 {
            fake.set(pool + 32 * queue, &[1 << 24, QUEUE, 0, 1 << 24]);
        }
    }
    let list = fake.read();
    assert!(list.tasks.iter().any(|task| task.header == running), "{:?}", list.tasks);
    assert!(list.notes.iter().any(|note| note.contains("more tasks are in the lists")), "{:?}", list.notes);
    assert!(fake.readings.get() < 1_000_000, "{} readings", fake.readings.get());
}

#[test]
fn without_a_list_of_present_pages_the_heap_is_not_touched() {
    let mut fake = Fake::tokio();
    let task = fake.task(0, IDLE, [0, 0]);
    fake.lists(&[[task, task], [0, 0], [0, 0], [0, 0]]);
    fake.has_no_page_list = true;
    let list = fake.read();
    assert!(list.has_tables && list.tasks.is_empty());
    assert_eq!(list.skipped_bytes, HEAP.end - HEAP.start);
    assert!(list.notes.iter().any(|note| note.contains("pagemap")), "{:?}", list.notes);
}

#[test]
fn a_task_that_only_a_list_leads_to_is_added() {
    let mut fake = Fake::tokio();
    let [a, b] = [TASKS, TASKS + 256];
    fake.task(0, IDLE, [0, b]);
    fake.task(1, IDLE, [a, 0]);
    fake.lists(&[[a, b], [0, 0], [0, 0], [0, 0]]);
    // The limit ends the search before the second task.
    let limit = DATA.end - DATA.start + (b - HEAP.start);
    let list = read(&fake, limit);
    assert_eq!(list.tasks.len(), 2);
    assert_eq!(list.skipped_bytes, HEAP.end - b);
}

#[test]
fn a_word_behind_a_table_that_is_no_offset_is_ignored() {
    let mut fake = Fake::tokio();
    fake.set(TABLES + 80, &[CODE.start]);
    let task = fake.task(0, IDLE, [0, 0]);
    fake.lists(&[[task, task], [0, 0], [0, 0], [0, 0]]);
    assert_eq!(fake.read().tasks[0].spawned_at, None);
}

#[test]
fn a_name_of_a_file_is_bounded_and_printable() {
    for (words, is_shown) in [
        ([NAME, 8, 12 | 5 << 32], true),
        ([NAME, u64::MAX, 12 | 5 << 32], false),
        ([NAME, 8, 5 << 32], false),
        ([HEAP.start, 8, 12 | 5 << 32], false),
        ([NAME + 1, 8, 12 | 5 << 32], false),
    ] {
        let mut fake = Fake::tokio();
        let task = fake.task(0, IDLE, [0, 0]);
        fake.lists(&[[task, task], [0, 0], [0, 0], [0, 0]]);
        fake.set(LOCATION, &words);
        assert_eq!(fake.read().tasks[0].spawned_at.is_some(), is_shown, "{words:x?}");
    }
}

/// A word that is likely to lead somewhere.
fn hostile_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(TABLES),
        Just(TABLES + 88),
        Just(HANDLE),
        Just(OWNER),
        Just(u64::MAX),
        (0..1024_u64).prop_map(|at| HEAP.start + 128 * at),
        (0..2048_u64).prop_map(|at| HEAP.start + 8 * at),
        (0..512_u64),
        (0..17_u32).prop_map(|bit| 1 << bit),
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// `read` itself checks that the work is bounded.
    #[test]
    fn hostile_memory_does_no_harm(
        words in prop::collection::vec((0..4096_u64, hostile_word()), 0..600),
        headers in prop::collection::vec((0..1024_u64, hostile_word(), hostile_word(), hostile_word()), 0..60),
        is_changing in any::<bool>(),
    ) {
        let mut fake = Fake::tokio();
        for (at, word) in words {
            fake.set(HEAP.start + 8 * at, &[word]);
        }
        for (at, previous, next, scheduler) in headers {
            let header = HEAP.start + 128 * at;
            fake.set(header, &[IDLE, 0, TABLES, OWNER, scheduler, at + 1, LOCATION]);
            fake.set(header + 112, &[previous, next]);
        }
        fake.is_changing = is_changing;
        let list = fake.read();
        prop_assert!(list.tasks.len() <= list.candidates);
        for at in (0..512).step_by(64) {
            workers::count(&fake, HEAP.start + at);
            wait_list::read(&fake, HEAP.start + at);
        }
    }

    #[test]
    fn hostile_tables_do_no_harm(words in prop::collection::vec((0..512_u64, hostile_word()), 0..200)) {
        let mut fake = Fake::tokio();
        let task = fake.task(0, IDLE, [0, 0]);
        fake.lists(&[[task, task], [0, 0], [0, 0], [0, 0]]);
        for (at, word) in words {
            fake.set(DATA.start + 8 * at, &[word]);
        }
        fake.read();
    }
}

#[test]
fn lists_that_lead_in_a_circle_end() {
    let mut fake = Fake::tokio();
    let [a, b] = [TASKS, TASKS + 256];
    fake.task(0, IDLE, [b, b]);
    fake.task(1, IDLE, [a, a]);
    fake.task(2, IDLE, [TASKS + 512, TASKS + 512]);
    fake.set(HANDLE + 64, &[a, a]);
    assert!(fake.headers().len() <= 3);
}

/// Three waiters, of which the first in line is the last of the list.
fn waiters(fake: &mut Fake) -> [u64; 3] {
    let [newest, middle, oldest] = [0, 1, 2].map(|at| TASKS + 256 * at);
    fake.set(HANDLE, &[0, newest, oldest, 0]);
    for (waiter, pointers) in [(newest, [0, middle]), (middle, [newest, oldest]), (oldest, [middle, 0])] {
        fake.set(waiter, &[1, 7, 7]);
        fake.set(waiter + 24, &pointers);
    }
    [newest, middle, oldest]
}

#[test]
fn the_first_waiter_in_line_is_the_last_of_the_list() {
    let mut fake = Fake::default();
    assert_eq!(wait_list::read(&fake, HANDLE), None);
    let [newest, middle, oldest] = waiters(&mut fake);
    assert_eq!(wait_list::read(&fake, HANDLE), Some(WaitList { first: oldest, waiters: 3 }));
    fake.set(middle + 24, &[newest, newest]);
    assert_eq!(wait_list::read(&fake, HANDLE), None, "a neighbour does not point back");
    fake.set(middle + 24, &[oldest, oldest]);
    fake.set(oldest + 24, &[middle, middle]);
    assert_eq!(wait_list::read(&fake, HANDLE), None, "the list is a circle");
}

/// A task, and how it must be seen.
type Expected = (Id, fn(&FoundTask) -> bool);

fn is_as_expected((id, is_right): &Expected, tasks: &[FoundTask]) -> bool {
    let number = id.to_string().parse::<u64>().unwrap();
    let mut with_id = tasks.iter().filter(|task| task.id == Some(number));
    with_id.next().is_some_and(is_right) && with_id.next().is_none()
}

/// In a process of its own, because other tests write to the memory that is
/// searched.
#[test]
fn the_tasks_of_this_process_are_found() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "tasks::tests::tasks_of_this_process", "--ignored", "--nocapture"]);
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn tasks_of_this_process() {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).max_blocking_threads(1).build().unwrap();
    let mut expected: Vec<Expected> = Vec::new();
    for _ in 0..20 {
        let idle = runtime.spawn(pending::<()>());
        expected.push((idle.id(), |task| task.owner.is_some() && task.state & 0b111 == 0));
    }
    let ended = runtime.spawn(ready(1));
    expected.push((ended.id(), |task| task.owner.is_some() && task.state & state::COMPLETE != 0));
    let (stop, stops) = mpsc::channel::<()>();
    let running = runtime.spawn_blocking(move || stops.recv());
    expected.push((running.id(), |task| task.owner.is_none() && task.state & state::RUNNING != 0));
    let queued = runtime.spawn_blocking(|| ());
    expected.push((queued.id(), |task| task.owner.is_none() && task.state == state::INITIAL));
    let single = Builder::new_current_thread().build().unwrap();
    expected.push((single.spawn(pending::<()>()).id(), |task| task.state & state::NOTIFIED != 0));
    let local = LocalSet::new();
    expected.push((local.spawn_local(pending::<()>()).id(), |task| task.state & state::NOTIFIED != 0));

    let deadline = Instant::now() + Duration::from_secs(30);
    let mut reader = TaskReader::new(Process::Own);
    loop {
        let tasks = reader.read().tasks;
        let missing: Vec<_> = expected.iter().filter(|one| !is_as_expected(one, &tasks)).collect();
        if missing.is_empty() {
            break;
        }
        // The tasks need a moment until they wait.
        assert!(Instant::now() < deadline, "not as expected: {missing:?} in {tasks:#x?}");
        thread::sleep(Duration::from_millis(5));
    }
    let number = expected[0].0.to_string().parse::<u64>().unwrap();
    let first = reader.read().tasks.into_iter().find(|task| task.id == Some(number)).unwrap();
    assert_eq!(reader.worker_count(first.scheduler.unwrap()), Some(2));
    drop((stop, ended, queued));
}

#[test]
fn a_process_that_does_not_exist_has_no_tasks() {
    let list = TaskReader::new(Process::Other(i32::MAX / 8)).read();
    assert!(list.tasks.is_empty());
}
