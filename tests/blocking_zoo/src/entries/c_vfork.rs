//! The parent of a `vfork` in a C library: nothing can interrupt it. The line
//! is in native.c.

use std::ffi::c_uint;
use std::time::Duration;

unsafe extern "C" {
    fn native_vfork(microseconds: c_uint);
}

pub(crate) async fn prepare(stall: Duration) {
    // SAFETY: the function takes a number only.
    unsafe { native_vfork(stall.as_micros() as c_uint) }; // native.c has the line
    crate::stage::keep();
}
