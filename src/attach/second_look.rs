//! Judges what one moment cannot show: what stays as it is for long. A process
//! in which nothing looks wrong at first is not looked at again.

use std::thread;
use std::time::Duration;

use crate::attach::document::{PsTask, PsVerdict};
use crate::attach::first_look::FirstLook;
use crate::attach::lock_queue::LockQueues;
use crate::attach::not_scheduled::NotScheduled;
use crate::futures::FutureReader;

/// So long must a state last to be wrong.
const MIN_LASTING: Duration = Duration::from_secs(1);
const TIME_BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// A lock that passes from task to task may by chance have the same one next in
/// line at a few looks.
const MIN_LOOKS: u32 = 10;

/// Returns what has lasted for a second: looks again until then, or until it
/// has changed. `verdicts` are those of the first look; `is_unchanged` says
/// whether a task is in the same state as at the first look.
pub(super) fn verdicts(
    first: &FirstLook<'_>,
    verdicts: &[PsVerdict],
    futures: &mut FutureReader,
    is_unchanged: impl Fn(&mut FutureReader, &PsTask) -> bool,
) -> Vec<PsVerdict> {
    let mut not_scheduled = NotScheduled::new(first);
    let mut lock_queues = LockQueues::new(first, verdicts);
    for look in 1.. {
        not_scheduled.retain(first, |task| is_unchanged(futures, task));
        lock_queues.retain(first.task_reader);
        if not_scheduled.is_empty() && lock_queues.is_empty() {
            return Vec::new();
        }
        if look >= MIN_LOOKS && first.at.elapsed() >= MIN_LASTING {
            lock_queues.retain_waiters(|task| is_unchanged(futures, task));
            let mut verdicts = lock_queues.verdicts(first, futures);
            verdicts.extend(not_scheduled.verdict(first));
            return verdicts;
        }
        thread::sleep(TIME_BETWEEN_LOOKS);
    }
    Vec::new()
}
