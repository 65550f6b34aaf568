//! Waits at a barrier for a late thread.

use std::sync::{Arc, Barrier};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let barrier = Arc::new(Barrier::new(2));
    let other = Arc::clone(&barrier);
    async move {
        crate::stage::later(stall, move || {
            other.wait();
        });
        barrier.wait(); // BLOCKS: lock std::sync::Barrier::wait
        crate::stage::keep();
    }
}
