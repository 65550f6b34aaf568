//! Waits for a file lock.

use std::fs::File;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let path = crate::stage::scratch("flock");
    let holder = File::create(&path).unwrap();
    holder.lock().unwrap();
    let waiter = File::open(&path).unwrap();
    async move {
        crate::stage::later(stall, move || holder.unlock());
        waiter.lock().unwrap(); // BLOCKS: file std::fs::File::lock
    }
}
