//! A loop that ends only when another thread sets a flag.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

static OVER: AtomicBool = AtomicBool::new(false);
static STEP: AtomicU64 = AtomicU64::new(2);

pub(crate) async fn prepare(stall: Duration) {
    crate::stage::later(stall, || OVER.store(true, Relaxed));
    let mut n = 1_u64;
    while n != 0 { // BLOCKS: cpu -
        n = n.wrapping_add(STEP.load(Relaxed)) | 1; // BLOCKS
        if OVER.load(Relaxed) { // BLOCKS
            n = 0; // BLOCKS
        }
    }
}
