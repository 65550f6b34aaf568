//! Compresses a large buffer.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let data: Vec<u8> = (0..4 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 25) as u8).collect();
    async move {
        let end = Instant::now() + stall;
        while Instant::now() < end {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best()); // BLOCKS
            encoder.write_all(&data).unwrap(); // BLOCKS: cpu std::io::Write::write_all
            let compressed = encoder.finish().unwrap(); // BLOCKS
            std::hint::black_box(compressed); // BLOCKS
        }
    } // BLOCKS
}
