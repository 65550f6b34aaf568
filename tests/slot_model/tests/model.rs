//! What must hold in every interleaving of two threads.

use loom::model::Builder;
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;
use slot_model::{IdlePark, Slot, Targets};

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

/// The worker wakes while the watchdog is about to sleep. loom fails if the
/// watchdog then sleeps for ever.
#[test]
fn a_waking_worker_and_a_watchdog_about_to_sleep_do_not_miss_each_other() {
    check(|| {
        let slot = Arc::new(Slot::default());
        let idle_park = Arc::new(IdlePark::default());
        slot.set_idle();
        let (worker, park) = (Arc::clone(&slot), Arc::clone(&idle_park));
        let wakes = thread::spawn(move || {
            worker.set_awake();
            park.wake();
        });
        idle_park.sleep_while_idle(&slot);
        wakes.join().unwrap();
        assert!(!slot.is_idle());
    });
}

#[test]
fn a_late_signal_meets_no_other_request() {
    check(|| {
        let targets = Arc::new(Targets::default());
        assert!(targets.claim(1) && targets.open(1));
        let handler = Arc::clone(&targets);
        let late = thread::spawn(move || handler.handle_signal(1));
        let answered = targets.take_answer();
        assert!(matches!(answered, None | Some(1)));
        targets.cancel();
        let reopened = targets.open(2).then(|| targets.handle_signal(2));
        assert_ne!(reopened, Some(false), "the signal of an open request takes it");
        let taken = late.join().unwrap();
        let second = targets.take_answer();
        match reopened {
            Some(_) => assert_eq!(second, Some(2)),
            None => assert!(taken && matches!(second, None | Some(1))),
        }
    });
}

/// The handler may run before the request is open: only the request's own
/// orderings count.
#[test]
fn a_request_and_its_answer_are_whole() {
    check(|| {
        let targets = Arc::new(Targets::default());
        assert!(targets.claim(1));
        let handler = Arc::clone(&targets);
        let handles = thread::spawn(move || handler.handle_signal(1));
        assert!(targets.open(1));
        let early = targets.take_answer();
        let taken = handles.join().unwrap();
        assert_eq!(early.or_else(|| targets.take_answer()), taken.then_some(1));
    });
}

/// The requester of a thread ends while its signal is on its way.
#[test]
fn a_target_awaits_its_signal_before_it_serves_another_thread() {
    check(|| {
        let targets = Arc::new(Targets::default());
        assert!(targets.claim(1) && targets.open(1));
        let has_arrived = Arc::new(AtomicBool::new(false));
        let (handler, arrives) = (Arc::clone(&targets), Arc::clone(&has_arrived));
        let late = thread::spawn(move || {
            arrives.store(true, Relaxed);
            handler.handle_signal(1)
        });
        targets.cancel();
        targets.release();
        if targets.claim(2) {
            assert!(has_arrived.load(Relaxed));
            assert!(targets.open(2) && targets.handle_signal(2));
            assert_eq!(targets.take_answer(), Some(2));
        }
        late.join().unwrap();
    });
}
