//! Writes a log and syncs it after each line.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let path = crate::stage::scratch("sync");
    let mut file = File::create(&path).unwrap();
    async move {
        let end = Instant::now() + stall;
        while Instant::now() < end {
            file.write_all(&[1; 1 << 20]).unwrap(); // BLOCKS: file std::io::Write::write_all
            file.sync_all().unwrap(); // BLOCKS: file std::fs::File::sync_all
        }
    }
}
