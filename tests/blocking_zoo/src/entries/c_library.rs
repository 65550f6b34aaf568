//! Through a C library: the line is the library's, as it is part of this
//! program; see native.c.

use std::ffi::c_uint;
use std::time::Duration;

unsafe extern "C" {
    fn native_nap(microseconds: c_uint);
}

pub(crate) async fn prepare(stall: Duration) {
    // SAFETY: takes a number.
    unsafe { native_nap(stall.as_micros() as c_uint) }; // native.c has the line
    crate::stage::keep();
}
