//! Connects with a timeout, which waits in `poll`, to a host that does not
//! answer.

use std::net::TcpStream;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (listener, address, queued) = super::tcp_connect::full_listener();
    async move {
        let connected = TcpStream::connect_timeout(&address, stall); // BLOCKS: network std::net::TcpStream::connect_timeout
        drop((connected.unwrap_err(), queued, listener));
    }
}
