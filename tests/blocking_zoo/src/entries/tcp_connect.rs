//! Connects to a host that does not answer because its queue is full.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Returns a listener whose queue is full, its address and the queued
/// connections.
pub(crate) fn full_listener() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: `listen` takes numbers only.
    unsafe { libc::listen(listener.as_raw_fd(), 0) };
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
    let queued = std::iter::from_fn(connect).collect();
    (listener, address, queued)
}

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (listener, address, queued) = full_listener();
    async move {
        // The kernel tries again after a second, when the queue has space.
        crate::stage::later(stall, move || while listener.accept().is_ok() {});
        let connected = TcpStream::connect(address); // BLOCKS: network std::net::TcpStream::connect
        drop((connected.unwrap(), queued));
    }
}
