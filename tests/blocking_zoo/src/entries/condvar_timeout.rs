//! Waits with a timeout for a condition that never becomes true.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    let (lock, condition) = (Mutex::new(()), Condvar::new());
    let guard = lock.lock().unwrap();
    let waited = condition.wait_timeout_while(guard, stall, |()| true); // BLOCKS: lock std::sync::Condvar::wait_timeout_while
    assert!(waited.unwrap().1.timed_out());
}
