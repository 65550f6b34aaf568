//! What a reader of a slot may see, in any order of the reader's and the
//! writer's accesses.

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::atomic::{AtomicBool, fence};
use loom::thread;
use slot_model::Slot;

/// Runs all interleavings with up to three preemptions. That is enough for a
/// test to fail if any of the memory orderings that the slot needs is missing.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 10_000;
    let orders = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tried = std::sync::Arc::clone(&orders);
    builder.check(move || {
        tried.fetch_add(1, Relaxed);
        model();
    });
    assert!(orders.load(Relaxed) > 10, "loom has tried {orders:?} orders only");
}

/// Checks that all fields belong to the same poll. The first poll has the
/// sequence number 1, the second one 3.
fn is_whole(seen: (u64, u64, u64, u32)) {
    let (seq, start, task, kind) = seen;
    let n = seq.div_ceil(2);
    assert_eq!(
        (start, task, u64::from(kind)),
        (n, n, n),
        "the fields of poll {seq} belong to different polls"
    );
}

#[test]
fn a_poll_is_seen_whole_or_not_at_all() {
    check(|| {
        let slot = Arc::new(Slot::default());
        let writer = Arc::clone(&slot);
        let writes = thread::spawn(move || {
            for n in 1..=2 {
                writer.begin(n);
                writer.end();
            }
        });
        slot.active().into_iter().for_each(is_whole);
        writes.join().unwrap();
        assert_eq!(slot.active(), None, "both have ended");
    });
}

#[test]
fn an_ongoing_poll_is_seen_and_readers_never_go_back_to_an_earlier_poll() {
    check(|| {
        let slot = Arc::new(Slot::default());
        let writer = Arc::clone(&slot);
        let writes = thread::spawn(move || {
            writer.begin(1);
            writer.end();
            writer.begin(2);
        });
        let [first, second] = [slot.active(), slot.active()];
        first.into_iter().chain(second).for_each(is_whole);
        if let (Some(first), Some(second)) = (first, second) {
            assert!(second.0 >= first.0);
        }
        writes.join().unwrap();
        assert_eq!(slot.active().map(|seen| seen.0), Some(3));
    });
}

/// Either the worker that wakes sees the flag of the watchdog, or the watchdog
/// sees that the worker is awake. So the watchdog never stays parked while a
/// worker is awake.
#[test]
fn a_waking_worker_and_a_parking_watchdog_see_each_other() {
    check(|| {
        let slot = Arc::new(Slot::default());
        let is_parked = Arc::new(AtomicBool::new(false));
        slot.set_idle();
        let (worker, flag) = (Arc::clone(&slot), Arc::clone(&is_parked));
        let wakes = thread::spawn(move || {
            worker.set_awake();
            flag.load(Relaxed)
        });
        is_parked.store(true, SeqCst);
        fence(SeqCst);
        let saw_all_idle = slot.is_idle();
        let saw_the_flag = wakes.join().unwrap();
        assert!(!saw_all_idle || saw_the_flag);
    });
}
