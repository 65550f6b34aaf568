//! Sends a signal with a value to one thread.
#![allow(unsafe_code)]

use std::io;

/// The `siginfo_t` that `rt_tgsigqueueinfo` takes.
#[repr(C)]
struct QueuedInfo {
    signo: i32,
    errno: i32,
    code: i32,
    pad: i32,
    pid: i32,
    uid: u32,
    value: u64,
    rest: [u64; 12],
}

/// Sends `signal` to a thread of the process `pid`.
pub(crate) fn queue_signal(signal: i32, pid: i32, tid: i32, value: u64) -> io::Result<()> {
    // SAFETY: no arguments.
    let uid = unsafe { libc::getuid() };
    let info =
        QueuedInfo { signo: signal, errno: 0, code: libc::SI_QUEUE, pad: 0, pid, uid, value, rest: [0; 12] };
    // SAFETY: `info` is a full siginfo_t of 128 bytes that outlives the call.
    // The kernel refuses a thread id of another process.
    let failed =
        unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, tid, signal, &raw const info) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
