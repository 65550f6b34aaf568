//! Calls `thread::sleep`.

use std::thread;
use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    thread::sleep(stall); // BLOCKS: sleep std::thread::sleep
    crate::stage::keep();
}
