//! Calls a C library. The line is in native.c, as the library is part of this
//! program.

use std::ffi::c_uint;
use std::time::Duration;

unsafe extern "C" {
    fn native_sleep(microseconds: c_uint);
}

pub(crate) async fn prepare(stall: Duration) {
    // SAFETY: the function takes a number only.
    unsafe { native_sleep(stall.as_micros() as c_uint) }; // native.c has the line
    crate::stage::keep();
}
