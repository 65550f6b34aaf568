//! Searches the threads of the process for the holder of a lock.
//!
//! A lock of std does not contain the id of its holder. But its guard contains
//! the lock's address, so a thread that holds the lock usually has the address
//! on its stack. The stack of a thread that waits is read from outside.
//!
//! The address of a lock in a `static` is part of the code, so a holder need
//! not have it on its stack.

use std::time::{Duration, Instant};

use crate::capture::unwind::Unwinder;
use crate::capture::{CopiedStack, STACK_BYTES, passive};
use crate::evidence::{HolderThread, LockHolders};
use crate::os::{self, ThreadInfo};
use crate::process::Process;
use crate::watchdog::procfs;
use crate::watchdog::sample::{InSyscall, ThreadActivity};
use crate::watchdog::stack_capture;

/// The maximum number of threads that one search reads. Each takes some 20 µs.
const MAX_THREADS: usize = 512;
/// The maximum CPU time of one search of the workers or of the other threads,
/// in which the watchdog does nothing else. Time is not a limit: on a busy
/// machine, each search may be preempted for longer than it takes.
const MAX_SEARCH_CPU_TIME: Duration = Duration::from_millis(5);
/// The maximum duration of one search, as a multiple of the CPU time: reading
/// the memory of a thread may wait for a lock of the kernel.
const MAX_SEARCH_DURATION_FACTOR: u32 = 20;
/// The watchdog spends at most one part in this many of its time on searches.
const TIME_BETWEEN_SEARCHES: u32 = 50;
/// If more threads have the address on their stacks, none of them is named.
const MAX_HOLDERS: usize = 4;
/// The maximum number of threads that one search unwinds, for all locks. In a
/// debug build each takes some milliseconds.
const MAX_UNWOUND_THREADS: usize = 16;
/// How far the word that a thread waits for is behind the lock's address. A
/// thread that waits to write to an `RwLock` waits for its second word.
const WORD_OFFSETS: [u64; 2] = [0, 4];

/// Searches threads at a limited rate.
#[derive(Debug)]
pub(super) struct LockSearch {
    due_at: Instant,
    max_cpu_time: Duration,
}

/// What a search has taken so far.
#[derive(Debug)]
struct SearchTime {
    thread: i32,
    cpu_nanos_at_begin: u64,
    begin: Instant,
}

impl SearchTime {
    fn new() -> Self {
        let thread = os::current_thread_id();
        let cpu_nanos_at_begin = os::thread_cpu_nanos(thread).unwrap_or(0);
        Self { thread, cpu_nanos_at_begin, begin: Instant::now() }
    }

    /// Returns the CPU time of this thread since the beginning.
    fn cpu_time(&self) -> Duration {
        let now = os::thread_cpu_nanos(self.thread).unwrap_or(0);
        Duration::from_nanos(now.saturating_sub(self.cpu_nanos_at_begin))
    }

    fn exceeds(&self, max_cpu_time: Duration) -> bool {
        self.cpu_time() > max_cpu_time || self.begin.elapsed() > max_cpu_time * MAX_SEARCH_DURATION_FACTOR
    }
}

/// A thread that has the address of a lock on its stack.
#[derive(Debug)]
struct Suspect {
    /// The lock's position in the list of locks.
    lock: usize,
    name: String,
    call: InSyscall,
    stack: CopiedStack,
}

impl LockSearch {
    pub(super) fn new() -> Self {
        Self { due_at: Instant::now(), max_cpu_time: MAX_SEARCH_CPU_TIME }
    }

    /// Returns whether a search may begin now.
    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.due_at
    }

    /// Searches the holders of each lock on all threads except those with the
    /// ids `excluded`, this thread, and loopscope's other threads.
    pub(super) fn search(
        &mut self,
        locks: &[u64],
        excluded: &[i32],
        unwinder: &mut Unwinder,
    ) -> Vec<LockHolders> {
        let whole_time = SearchTime::new();
        let mut all = before_search(locks, unwinder);
        // The list of modules of a large program takes longer than the search.
        let time = SearchTime::new();
        let mut suspects = Vec::new();
        let ids = procfs::thread_ids(Process::Own);
        let mut is_complete = !ids.is_empty();
        let others = ids.into_iter().filter(|id| *id != time.thread && !excluded.contains(id));
        for (count, id) in others.enumerate() {
            if count == MAX_THREADS || time.exceeds(self.max_cpu_time) {
                // Another thread may hold the lock as well, so none is named.
                is_complete = false;
                suspects.clear();
                all.iter_mut().for_each(|holders| holders.is_ambiguous = true);
                break;
            }
            is_complete &= search_thread(id, locks, &mut suspects);
        }
        add_suspects(&mut all, suspects, unwinder);
        for holders in &mut all {
            holders.has_read_all &= is_complete;
        }
        self.due_at = Instant::now() + whole_time.cpu_time() * TIME_BETWEEN_SEARCHES;
        all
    }

    /// Adds workers in polls to the holders of each lock that they seem to
    /// hold. `read` returns the number of a worker and which of the locks it
    /// seems to hold, if its stack can be read. Belongs to the search that has
    /// just been made.
    pub(super) fn add_workers<W>(
        &mut self,
        all: &mut [LockHolders],
        workers: impl Iterator<Item = W>,
        mut read: impl FnMut(W) -> (usize, Option<Vec<bool>>),
    ) {
        let time = SearchTime::new();
        for worker in workers {
            if time.exceeds(self.max_cpu_time) {
                give_up(all);
                break;
            }
            let (number, Some(held)) = read(worker) else {
                all.iter_mut().for_each(|holders| holders.has_read_all = false);
                continue;
            };
            for (holders, _) in all.iter_mut().zip(held).filter(|(_, is_held)| *is_held) {
                holders.workers.push(number);
            }
        }
        self.due_at += time.begin.elapsed() + time.cpu_time() * TIME_BETWEEN_SEARCHES;
    }
}

/// Returns what is known of each lock without a search. A lock in a `static`
/// may have a holder that no search finds, as if not all threads were read.
fn before_search(locks: &[u64], unwinder: &mut Unwinder) -> Vec<LockHolders> {
    unwinder.list_modules();
    let is_found_by_address = |lock: &u64| !unwinder.is_in_module(*lock);
    let holders = |lock| LockHolders { has_read_all: is_found_by_address(lock), ..LockHolders::default() };
    locks.iter().map(holders).collect()
}

/// Notes that not all threads were read. Another thread may hold the lock as
/// well, so none is named.
fn give_up(all: &mut [LockHolders]) {
    all.fill(ambiguous());
}

/// Adds a thread to the suspects for each lock that it seems to hold. Returns
/// whether its stack could be read.
fn search_thread(id: i32, locks: &[u64], suspects: &mut Vec<Suspect>) -> bool {
    let ThreadActivity::InSyscall(call) = procfs::read_activity(Process::Own, id) else {
        return is_of_loopscope(&procfs::thread_name(Process::Own, id).unwrap_or_default());
    };
    let Some((stack, has_read_all)) = copy(id, &call) else { return false };
    for (lock, address) in locks.iter().enumerate() {
        if is_waiting_for(&call, *address) || !has_on_stack(&stack, *address) {
            continue;
        }
        if procfs::read_activity(Process::Own, id) != ThreadActivity::InSyscall(call) {
            return false;
        }
        let name = procfs::thread_name(Process::Own, id).unwrap_or_default();
        // The reporting thread handles evidence that has the address.
        if is_of_loopscope(&name) {
            break;
        }
        // One more than the maximum shows that there are too many.
        if suspects.iter().filter(|suspect| suspect.lock == lock).count() <= MAX_HOLDERS {
            suspects.push(Suspect { lock, name, call, stack: stack.clone() });
        }
    }
    has_read_all
}

/// Adds the suspects to the holders of their locks. A lock with too many of
/// them has no holder.
fn add_suspects(all: &mut [LockHolders], suspects: Vec<Suspect>, unwinder: &mut Unwinder) {
    let mut is_full = vec![false; all.len()];
    for (count, Suspect { lock, name, call, stack }) in suspects.into_iter().enumerate() {
        let holders = &mut all[lock];
        if count >= MAX_UNWOUND_THREADS || holders.threads.len() == MAX_HOLDERS {
            is_full[lock] = true;
            continue;
        }
        let capture = Box::new(stack_capture::capture_of_waiting(&stack, &call, unwinder));
        holders.threads.push(HolderThread { name, capture });
    }
    for (holders, _) in all.iter_mut().zip(is_full).filter(|(_, is_full)| *is_full) {
        *holders = ambiguous();
    }
}

fn ambiguous() -> LockHolders {
    LockHolders { is_ambiguous: true, ..LockHolders::default() }
}

fn is_of_loopscope(thread_name: &str) -> bool {
    thread_name.starts_with("loopscope-")
}

/// Copies the stack of a thread that waits in a call, and returns whether that
/// is the whole stack.
fn copy(id: i32, call: &InSyscall) -> Option<(CopiedStack, bool)> {
    let sp = usize::try_from(call.sp).ok()?;
    // Without the upper bound, what is mapped behind the stack is read, too.
    let top = os::thread_area(id).filter(|area| *area > sp).unwrap_or(0);
    let thread = ThreadInfo { tid: id, stack_bottom: sp, stack_top: top };
    let unbounded = ThreadInfo { tid: id, stack_bottom: 0, stack_top: 0 };
    let stack = passive::copy(Process::Own, thread, call.sp, call.pc);
    let stack = stack.or_else(|| passive::copy(Process::Own, unbounded, call.sp, call.pc))?;
    let is_whole = stack.bytes.len() < STACK_BYTES;
    Some((stack, is_whole))
}

/// Returns whether a thread in this call waits for the lock itself.
pub(super) fn is_waiting_for(call: &InSyscall, lock: u64) -> bool {
    call.number == libc::SYS_futex
        && WORD_OFFSETS.iter().any(|offset| {
            call.arguments[0] == lock.wrapping_add(*offset) || call.arguments[0] == lock.wrapping_sub(*offset)
        })
}

/// Returns whether the stack has the address of the lock whose word `lock` a
/// thread waits for.
pub(super) fn has_on_stack(stack: &CopiedStack, lock: u64) -> bool {
    let addresses = WORD_OFFSETS.map(|offset| lock.wrapping_sub(offset));
    stack.words().any(|word| addresses.contains(&word))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::{LazyLock, Mutex, mpsc};
    use std::thread;

    use super::*;

    /// The thread `holder` sleeps with the lock held, another one computes.
    #[test]
    fn the_holder_is_found_by_its_name_although_it_is_no_worker() {
        static LOCK: Mutex<()> = Mutex::new(());
        static IS_OVER: AtomicBool = AtomicBool::new(false);
        let address = (&raw const LOCK).addr() as u64;
        let (send, receive) = mpsc::channel();
        let hold = move || {
            let guard = LOCK.lock().unwrap();
            send.send(()).unwrap();
            while !IS_OVER.load(Relaxed) {
                thread::sleep(Duration::from_secs(3));
            }
            drop(guard);
        };
        let holder = thread::Builder::new().name("holder \u{43F}\u{43F}".to_owned()).spawn(hold).unwrap();
        receive.recv().unwrap();
        let mut search = LockSearch::new();
        let mut unwinder = Unwinder::new(Process::Own);
        assert!(search.is_due());
        let begin = Instant::now();
        let found = loop {
            let [found] = &search.search(&[address], &[], &mut unwinder)[..] else { panic!() };
            if let [thread] = &found.threads[..] {
                break thread.clone();
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{found:?}");
            // Other tests of this process keep threads running, or exceed the
            // limits.
            thread::sleep(Duration::from_millis(1));
        };
        assert!(found.name.starts_with("holder "), "{found:?}");
        assert_eq!(found.capture.call.as_ref().unwrap().name, "clock_nanosleep");
        assert!(!found.capture.stack.is_empty());
        assert!(!search.is_due(), "the watchdog also has other work");
        IS_OVER.store(true, Relaxed);
        drop(holder);
    }

    #[test]
    fn a_search_cannot_prove_that_nothing_holds_a_static_lock() {
        static LOCK: Mutex<u64> = Mutex::new(0);
        static LAZY: LazyLock<Mutex<u64>> = LazyLock::new(Mutex::default);
        let boxed = Box::new(Mutex::new(0));
        let locks = [&LOCK, &*LAZY, &*boxed].map(|lock| std::ptr::from_ref::<Mutex<u64>>(lock).addr() as u64);
        let mut unwinder = Unwinder::new(Process::Own);
        let before = before_search(&locks, &mut unwinder);
        assert_eq!(
            before.iter().map(|holders| holders.has_read_all).collect::<Vec<_>>(),
            [false, false, true]
        );
        // Other tests of this process keep threads running, so a search need
        // not read all of them.
        let found = LockSearch::new().search(&locks, &[], &mut unwinder);
        assert!(found[..2].iter().all(|holders| !holders.has_read_all), "{found:?}");
    }

    #[test]
    fn workers_hold_what_is_on_their_stacks_unless_the_search_takes_too_long() {
        let mut search = LockSearch { max_cpu_time: Duration::from_secs(60), ..LockSearch::new() };
        let read_all = || vec![LockHolders { has_read_all: true, ..LockHolders::default() }; 2];
        let mut found = read_all();
        search.add_workers(&mut found, 7..9, |number| (number, Some(vec![number == 8, false])));
        assert_eq!((&found[0].workers[..], &found[1].workers[..]), (&[8][..], &[][..]));
        let mut found = read_all();
        search.add_workers(&mut found, 7..9, |number| (number, (number == 7).then(|| vec![true, true])));
        assert!(found.iter().all(|holders| holders.workers == [7] && !holders.has_read_all));
        let mut found = read_all();
        search.max_cpu_time = Duration::from_millis(20);
        search.add_workers(&mut found, 7..9, |number| {
            thread::sleep(Duration::from_millis(30));
            (number, Some(vec![number == 8, false]))
        });
        assert_eq!(found[0].workers, [8], "time in which the search does not run is no limit");
        let mut found = read_all();
        search.max_cpu_time = Duration::ZERO;
        search.add_workers(&mut found, 7..9, |number| {
            thread::sleep(Duration::from_millis(1));
            (number, Some(vec![true, true]))
        });
        assert_eq!(found, vec![ambiguous(); 2], "not all workers were read");
        let mut found = vec![ambiguous(); 2];
        search.max_cpu_time = Duration::from_secs(60);
        search.add_workers(&mut found, 7..8, |number| (number, Some(vec![true, false])));
        assert!(!found[0].is_single(), "there are more threads than this worker");
    }

    #[test]
    fn a_thread_that_waits_for_the_lock_does_not_hold_it() {
        let call = |number, address| InSyscall { number, arguments: [address, 0, 0, 0, 0, 0], sp: 0, pc: 0 };
        assert!(is_waiting_for(&call(libc::SYS_futex, 64), 64));
        assert!(is_waiting_for(&call(libc::SYS_futex, 64), 68), "a reader, beside a writer");
        assert!(is_waiting_for(&call(libc::SYS_futex, 68), 64), "a writer, beside a reader");
        assert!(!is_waiting_for(&call(libc::SYS_futex, 72), 64));
        assert!(!is_waiting_for(&call(libc::SYS_read, 64), 64));
        let stack = |word: u64| CopiedStack { bytes: word.to_ne_bytes().to_vec(), ..CopiedStack::default() };
        assert!(has_on_stack(&stack(64), 64) && has_on_stack(&stack(64), 68));
        assert!(!has_on_stack(&stack(68), 64) && !has_on_stack(&stack(56), 64));
    }
}
