//! Reads a large file at once.

use std::fs::{self, File};
use std::io::Read;
use std::time::{Duration, Instant};

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let path = crate::stage::scratch("read");
    fs::write(&path, vec![1_u8; 32 << 20]).unwrap();
    async move {
        let mut buffer = vec![0_u8; 32 << 20];
        let end = Instant::now() + stall;
        while Instant::now() < end {
            let mut file = File::open(&path).unwrap(); // BLOCKS
            file.read_exact(&mut buffer).unwrap(); // BLOCKS: file std::io::Read::read_exact
        }
    }
}
