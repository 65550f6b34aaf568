//! Two tasks each hold the lock that the other one wants: both are found. They
//! try for a limited time, so that the program ends.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use loopscope::spawn;
use parking_lot::Mutex;

pub(crate) async fn prepare(stall: Duration) {
    let locks = Arc::new((Mutex::new(()), Mutex::new(())));
    let both = Arc::new(Barrier::new(2));
    let (their_locks, their_both) = (Arc::clone(&locks), Arc::clone(&both));
    let one = spawn("one", async move {
        let _second = their_locks.1.lock();
        their_both.wait();
        let first = their_locks.0.try_lock_for(stall); // BLOCKS: lock lock_api::Mutex::try_lock_for
        assert!(first.is_none());
        their_both.wait();
    });
    let other = spawn("other", async move {
        let _first = locks.0.lock();
        both.wait();
        let second = locks.1.try_lock_for(stall); // BLOCKS: lock lock_api::Mutex::try_lock_for
        assert!(second.is_none());
        both.wait();
    });
    // Rarely, Tokio leaves one task in the queue of the worker that the other
    // one blocks. A worker that wakes for a timer takes it.
    while !(one.is_finished() && other.is_finished()) {
        tokio::time::sleep(stall / 10).await;
    }
    one.await.unwrap();
    other.await.unwrap();
}
