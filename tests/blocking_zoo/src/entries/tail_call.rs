//! Blocks in the last call of a function. The compiler turns it into a jump, so
//! that the function is not on the stack.

use std::thread;
use std::time::Duration;

#[inline(never)]
fn wait(stall: Duration) {
    thread::sleep(stall); // BLOCKS: sleep std::thread::sleep
}

pub(crate) async fn prepare(stall: Duration) {
    wait(stall);
    crate::stage::keep();
}
