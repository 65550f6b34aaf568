//! Connects to a local server whose queue is full.

use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let path = crate::stage::scratch("socket");
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: `listen` takes numbers only.
    unsafe { libc::listen(listener.as_raw_fd(), 0) };
    let queued = UnixStream::connect(&path).unwrap();
    async move {
        crate::stage::later(stall, move || [listener.accept(), listener.accept()]);
        let connected = UnixStream::connect(&path); // BLOCKS: network std::os::unix::net::UnixStream::connect
        drop((connected.unwrap(), queued));
    }
}
