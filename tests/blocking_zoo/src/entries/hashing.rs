//! Hashes a large buffer.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

pub(crate) async fn prepare(stall: Duration) {
    let data = vec![7_u8; 8 << 20]; // BLOCKS
    let end = Instant::now() + stall;
    while Instant::now() < end {
        let digest = Sha256::digest(std::hint::black_box(&data)); // BLOCKS: cpu digest::digest::digest
        std::hint::black_box(digest);
    }
} // BLOCKS
