//! Waits for a readers-writer lock of `parking_lot`.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let lock = Arc::new(RwLock::new(0));
    let held = Arc::clone(&lock);
    crate::stage::hold(stall, move |holder| holder.hold(held.write()));
    async move {
        let read = *lock.read(); // BLOCKS: lock lock_api::RwLock::read
        assert_eq!(read, 0);
    }
}
