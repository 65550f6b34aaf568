//! Blocks in a C function whose last call is the last call of another. The C
//! library is called through the linkage table. native.c has the line.

use std::ffi::c_uint;
use std::time::Duration;

unsafe extern "C" {
    fn native_tail_call(microseconds: c_uint);
}

pub(crate) async fn prepare(stall: Duration) {
    // SAFETY: the function takes a number only.
    unsafe { native_tail_call(stall.as_micros() as c_uint) };
    crate::stage::keep();
}
