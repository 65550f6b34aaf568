//! Waits for a lock that a reader holds.

use std::sync::{Arc, RwLock};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let lock = Arc::new(RwLock::new(0));
    let held = Arc::clone(&lock);
    crate::stage::hold(stall, move |holder| holder.hold(held.read()));
    async move {
        *lock.write().unwrap() += 1; // BLOCKS: lock std::sync::RwLock::write
    }
}
