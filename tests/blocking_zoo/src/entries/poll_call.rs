//! Calls the system call `poll` directly.

use std::os::fd::AsRawFd;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (stream, peer) = crate::stage::connection();
    async move {
        let mut descriptor = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: the array has one element, which outlives the call.
        let ready = unsafe { libc::poll(&raw mut descriptor, 1, stall.as_millis() as i32) }; // BLOCKS: network poll
        assert_eq!(ready, 0, "no interruption");
        drop(peer);
    }
}
