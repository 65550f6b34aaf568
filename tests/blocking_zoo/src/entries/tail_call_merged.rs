//! Blocks in the last call of a function that the compiler has merged with an
//! equal one. The call in their caller is certain.

use std::thread;
use std::time::Duration;

#[inline(never)]
fn wait_for_reader(stall: Duration) {
    thread::sleep(stall * 3);
}

#[inline(never)]
fn wait_for_writer(stall: Duration) {
    thread::sleep(stall * 3);
}

#[inline(never)]
fn wait(stall: Duration, is_writer: bool) {
    if is_writer {
        wait_for_writer(stall); // BLOCKS: sleep std::thread::sleep
    } else {
        wait_for_reader(stall / 2);
    }
    crate::stage::keep();
}

pub(crate) async fn prepare(stall: Duration) {
    wait(Duration::ZERO, std::hint::black_box(false));
    wait(stall / 3, std::hint::black_box(true));
}
