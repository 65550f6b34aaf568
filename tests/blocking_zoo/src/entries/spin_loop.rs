//! Spins until a flag is set.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    async move {
        crate::stage::later(stall, move || set.store(true, Release));
        while !flag.load(Acquire) { // BLOCKS: cpu -
            std::hint::spin_loop(); // BLOCKS
        } // BLOCKS
    }
}
