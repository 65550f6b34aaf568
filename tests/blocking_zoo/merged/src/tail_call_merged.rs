//! Blocks in the last call of a function that the compiler has merged with an
//! equal one. Only the name of the other one is left, so the call in the caller
//! is certain, and the line inside is not.

use std::thread;
use std::time::Duration;

#[inline(never)]
fn wait_for_reader(stall: Duration) {
    thread::sleep(stall);
}

/// The compiler keeps the name that comes first in the alphabet.
#[inline(never)]
fn wait_for_writer(stall: Duration) {
    thread::sleep(stall);
}

/// Blocks in `wait_for_writer`.
pub fn block(stall: Duration) {
    wait_for_reader(Duration::ZERO);
    crate::keep();
    wait_for_writer(stall); // BLOCKS: sleep std::thread::sleep
    crate::keep();
}
