//! What must hold for a reader beside the one writer, whatever the order.

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::atomic::{AtomicBool, fence};
use loom::thread;
use slot_model::Slot;

/// All interleavings with up to three preemptions: enough to find each of the
/// orderings that the slot needs, were it missing.
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

/// The first poll has the number 1, the second 3; each is all of one.
fn is_whole(seen: (u64, u64, u64, u32)) {
    let (seq, start, task, kind) = seen;
    let n = seq.div_ceil(2);
    assert_eq!((start, task, u64::from(kind)), (n, n, n), "poll {seq} is a mixture");
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
fn a_poll_that_goes_on_is_seen_and_never_an_earlier_one_after_it() {
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

/// Either the worker that wakes sees the flag, or the watchdog that puts it up
/// sees that the worker is awake: never do both sleep.
#[test]
fn a_worker_that_wakes_and_a_watchdog_that_falls_asleep_do_not_miss_each_other() {
    check(|| {
        let slot = Arc::new(Slot::default());
        let asleep = Arc::new(AtomicBool::new(false));
        slot.set_idle();
        let (worker, flag) = (Arc::clone(&slot), Arc::clone(&asleep));
        let wakes = thread::spawn(move || {
            worker.set_awake();
            flag.load(Relaxed)
        });
        asleep.store(true, SeqCst);
        fence(SeqCst);
        let saw_all_idle = slot.is_idle();
        let saw_the_flag = wakes.join().unwrap();
        assert!(!saw_all_idle || saw_the_flag);
    });
}
