//! Waits for a mutex of `parking_lot`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let lock = Arc::new(Mutex::new(0));
    let held = Arc::clone(&lock);
    crate::stage::hold(stall, move |holder| holder.hold(held.lock()));
    async move {
        *lock.lock() += 1; // BLOCKS: lock lock_api::Mutex::lock
    }
}
