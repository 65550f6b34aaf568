//! Hashes a password.

use std::time::{Duration, Instant};

use argon2::Argon2;

pub(crate) async fn prepare(stall: Duration) {
    let end = Instant::now() + stall;
    while Instant::now() < end {
        let mut hash = [0; 32];
        Argon2::default().hash_password_into(b"secret", b"some salt", &mut hash).unwrap(); // BLOCKS: cpu argon2::Argon2::hash_password_into
        std::hint::black_box(hash);
    }
}
