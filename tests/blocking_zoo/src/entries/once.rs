//! Waits for a `Once` that another thread is still running.

use std::sync::{Arc, Once};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let once = Arc::new(Once::new());
    let running = Arc::clone(&once);
    crate::stage::hold(stall, move |holder| running.call_once(|| holder.hold(())));
    async move {
        once.call_once(|| ()); // BLOCKS: lock std::sync::Once::call_once
        crate::stage::keep();
    }
}
