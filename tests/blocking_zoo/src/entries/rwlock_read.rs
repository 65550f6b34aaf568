//! Waits for a lock that a writer holds.

use std::sync::{Arc, RwLock};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let lock = Arc::new(RwLock::new(0));
    let held = Arc::clone(&lock);
    crate::stage::hold(stall, move |holder| holder.hold(held.write()));
    async move {
        let read = *lock.read().unwrap(); // BLOCKS: lock std::sync::RwLock::read
        assert_eq!(read, 0);
    }
}
