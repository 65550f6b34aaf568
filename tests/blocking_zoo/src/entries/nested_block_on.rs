//! Nests `block_on`. Tokio refuses that on the same thread, so programs put a
//! thread between.

use std::thread;
use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    let handle = tokio::runtime::Handle::current();
    thread::scope(|scope| { // BLOCKS: other std::thread::scope
        scope.spawn(|| handle.block_on(async { tokio::time::sleep(stall).await }));
    });
    crate::stage::keep();
}
