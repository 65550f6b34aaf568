//! Waits for a mutex that another thread holds.

use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let lock = Arc::new(Mutex::new(0));
    let held = Arc::clone(&lock);
    crate::stage::hold(stall, move |holder| holder.hold(held.lock()));
    async move {
        *lock.lock().unwrap() += 1; // BLOCKS: lock std::sync::Mutex::lock
    }
}
