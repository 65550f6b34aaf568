//! What must hold for one reader and one writer in every interleaving.

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::atomic::{AtomicBool, fence};
use loom::thread;
use slot_model::Slot;

/// Tries all interleavings with up to three preemptions. That is enough to fail
/// if any one of the slot's memory orderings is missing.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 10_000;
    let interleavings = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&interleavings);
    builder.check(move || {
        counter.fetch_add(1, Relaxed);
        model();
    });
    let tried = interleavings.load(Relaxed);
    assert!(tried > 10, "loom tried only {tried} interleavings");
}

/// The first poll has the number 1, the second 3. All values that a reader sees
/// are of the same poll.
fn assert_whole(seen: (u64, u64, u64, u32)) {
    let (seq, start, task, kind) = seen;
    let n = seq.div_ceil(2);
    assert_eq!(
        (start, task, u64::from(kind)),
        (n, n, n),
        "the fields of poll {seq} belong to different polls"
    );
}

#[test]
fn a_reader_sees_a_whole_poll_or_none() {
    check(|| {
        let slot = Arc::new(Slot::default());
        let writer = Arc::clone(&slot);
        let writes = thread::spawn(move || {
            for n in 1..=2 {
                writer.begin(n);
                writer.end();
            }
        });
        slot.active().into_iter().for_each(assert_whole);
        writes.join().unwrap();
        assert_eq!(slot.active(), None, "both polls have ended");
    });
}

#[test]
fn a_reader_sees_the_active_poll_and_never_an_earlier_one_afterwards() {
    check(|| {
        let slot = Arc::new(Slot::default());
        let writer = Arc::clone(&slot);
        let writes = thread::spawn(move || {
            writer.begin(1);
            writer.end();
            writer.begin(2);
        });
        let [first, second] = [slot.active(), slot.active()];
        first.into_iter().chain(second).for_each(assert_whole);
        if let (Some(first), Some(second)) = (first, second) {
            assert!(second.0 >= first.0);
        }
        writes.join().unwrap();
        assert_eq!(slot.active().map(|seen| seen.0), Some(3));
    });
}

/// The worker wakes while the watchdog sets its sleep flag. Either the worker
/// sees the flag, or the watchdog sees that the worker is awake.
#[test]
fn a_waking_worker_and_a_watchdog_about_to_sleep_do_not_miss_each_other() {
    check(|| {
        let slot = Arc::new(Slot::default());
        let sleep_flag = Arc::new(AtomicBool::new(false));
        slot.set_idle();
        let (worker, flag) = (Arc::clone(&slot), Arc::clone(&sleep_flag));
        let wakes = thread::spawn(move || {
            worker.set_awake();
            flag.load(Relaxed)
        });
        sleep_flag.store(true, SeqCst);
        fence(SeqCst);
        let saw_all_idle = slot.is_idle();
        let saw_the_flag = wakes.join().unwrap();
        assert!(!saw_all_idle || saw_the_flag);
    });
}
