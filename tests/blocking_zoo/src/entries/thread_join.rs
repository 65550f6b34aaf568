//! Joins a thread.

use std::thread;
use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    let worker = thread::spawn(move || thread::sleep(stall));
    worker.join().unwrap(); // BLOCKS: other std::thread::JoinHandle::join
    crate::stage::keep();
}
