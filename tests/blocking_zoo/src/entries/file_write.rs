//! Writes a large file at once.

use std::fs;
use std::time::{Duration, Instant};

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let path = crate::stage::scratch("write");
    let contents = vec![1_u8; 16 << 20];
    async move {
        let end = Instant::now() + stall;
        while Instant::now() < end {
            fs::write(&path, &contents).unwrap(); // BLOCKS: file std::fs::write
        }
    }
}
