//! Two workers wait for one lock in two places: each is a finding.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use loopscope::spawn;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let lock = Arc::new(Mutex::new(0));
    let (held, also) = (Arc::clone(&lock), Arc::clone(&lock));
    crate::stage::hold(stall, move |holder| holder.hold(held.lock()));
    async move {
        let one = spawn("one", async move {
            *also.lock().unwrap() += 1; // BLOCKS: lock std::sync::Mutex::lock
        });
        let other = spawn("other", async move {
            *lock.lock().unwrap() += 1; // BLOCKS: lock std::sync::Mutex::lock
        });
        one.await.unwrap();
        other.await.unwrap();
    }
}
