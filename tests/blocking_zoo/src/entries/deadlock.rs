//! Two tasks that each hold what the other wants: both are named. Here they try
//! for a time only, so that the program ends.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use parking_lot::Mutex;

pub(crate) async fn prepare(stall: Duration) {
    let locks = Arc::new((Mutex::new(()), Mutex::new(())));
    let both = Arc::new(Barrier::new(2));
    let (their_locks, their_both) = (Arc::clone(&locks), Arc::clone(&both));
    let other = tokio::spawn(async move {
        let _second = their_locks.1.lock();
        their_both.wait();
        let first = their_locks.0.try_lock_for(stall); // BLOCKS: lock parking_lot::Mutex::try_lock_for
        std::hint::black_box(first.is_some());
    });
    {
        let _first = locks.0.lock();
        both.wait();
        let second = locks.1.try_lock_for(stall); // BLOCKS: lock parking_lot::Mutex::try_lock_for
        std::hint::black_box(second.is_some());
    }
    other.await.unwrap();
}
