//! Judges what one moment cannot show: what stays as it is for long. A process
//! in which nothing looks wrong at first is not looked at again.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use crate::attach::document::{PsTask, PsVerdict};
use crate::attach::first_look::FirstLook;
use crate::attach::lock_queue::LockQueues;
use crate::attach::not_scheduled::NotScheduled;
use crate::futures::FutureReader;

/// So long must a state last to be wrong.
const MIN_LASTING: Duration = Duration::from_secs(1);
/// The milliseconds between two looks, in turn. With equal times, a lock that
/// passes among the same tasks in a circle could look the same each time.
const MILLIS_BETWEEN_LOOKS: [u64; 7] = [61, 139, 83, 127, 71, 149, 97];
/// A lock that passes from task to task may by chance have the same one next in
/// line at a few looks.
const MIN_LOOKS: usize = 10;

/// Returns what has lasted for a second: looks again until then, or until it
/// has changed. `known_locks` has the addresses of locks of which a verdict
/// says what is wrong with them; `is_unchanged` says whether a task is in the
/// same state as at the first look.
pub(super) fn verdicts(
    first: &FirstLook<'_>,
    known_locks: &HashSet<u64>,
    futures: &mut FutureReader,
    is_unchanged: impl Fn(&mut FutureReader, &PsTask) -> bool,
) -> Vec<PsVerdict> {
    let mut not_scheduled = NotScheduled::new(first);
    let mut lock_queues = LockQueues::new(first, known_locks);
    let mut pauses = MILLIS_BETWEEN_LOOKS.into_iter().cycle().map(Duration::from_millis);
    for look in 1.. {
        // What the next reads show has lasted so long at least.
        let (unscheduled, locked) = (first.at.elapsed(), lock_queues.since.elapsed());
        not_scheduled.retain(first, |task| is_unchanged(futures, task));
        lock_queues.retain(first.task_reader);
        if not_scheduled.is_empty() && lock_queues.is_empty() {
            return Vec::new();
        }
        if look >= MIN_LOOKS && locked >= MIN_LASTING && unscheduled >= MIN_LASTING {
            lock_queues.retain_waiters(|task| is_unchanged(futures, task));
            let mut verdicts = lock_queues.verdicts(first, futures, locked);
            verdicts.extend(not_scheduled.verdicts(first.threads, unscheduled));
            return verdicts;
        }
        thread::sleep(pauses.next().unwrap_or(MIN_LASTING));
    }
    Vec::new()
}
