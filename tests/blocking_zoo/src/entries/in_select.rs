//! Blocks in a branch of `select!`.

use std::thread;
use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(60)) => {}
        () = tokio::task::yield_now() => {
            thread::sleep(stall); // BLOCKS: sleep std::thread::sleep
        }
    }
}
