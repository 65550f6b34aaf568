//! Blocks in `Drop`.

use std::thread;
use std::time::Duration;

struct Connection(Duration);

impl Drop for Connection {
    fn drop(&mut self) {
        thread::sleep(self.0); // BLOCKS: sleep std::thread::sleep
        crate::stage::keep();
    }
}

pub(crate) async fn prepare(stall: Duration) {
    let connection = Connection(stall);
    tokio::task::yield_now().await;
    drop(connection);
}
