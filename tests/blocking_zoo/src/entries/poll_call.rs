//! The system call `poll`, by hand.

use std::os::fd::AsRawFd;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (ours, theirs) = crate::stage::connection();
    async move {
        let mut asked = libc::pollfd { fd: ours.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which outlives the call.
        let ready = unsafe { libc::poll(&raw mut asked, 1, stall.as_millis() as i32) }; // BLOCKS: network poll
        assert_eq!(ready, 0, "no interruption");
        drop(theirs);
    }
}
