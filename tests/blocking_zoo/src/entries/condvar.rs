//! Waits for a late condition.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let late = Arc::clone(&shared);
    async move {
        crate::stage::later(stall, move || {
            *late.0.lock().unwrap() = true;
            late.1.notify_all();
        });
        let mut ready = shared.0.lock().unwrap();
        while !*ready {
            ready = shared.1.wait(ready).unwrap(); // BLOCKS: lock std::sync::Condvar::wait
        }
    }
}
