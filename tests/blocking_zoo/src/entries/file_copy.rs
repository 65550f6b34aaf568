//! Copies a file.

use std::fs;
use std::time::{Duration, Instant};

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (from, to) = (crate::stage::scratch("copy-from"), crate::stage::scratch("copy-to"));
    fs::write(&from, vec![1_u8; 16 << 20]).unwrap();
    async move {
        let end = Instant::now() + stall;
        while Instant::now() < end {
            fs::copy(&from, &to).unwrap(); // BLOCKS: file std::fs::copy
        }
    }
}
