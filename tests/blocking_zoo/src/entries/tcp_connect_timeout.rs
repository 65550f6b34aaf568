//! The same with a timeout, which waits in `poll`.

use std::net::TcpStream;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (listener, address, queued) = super::tcp_connect::full();
    async move {
        let connected = TcpStream::connect_timeout(&address, stall); // BLOCKS: network std::net::TcpStream::connect_timeout
        drop((connected.unwrap_err(), queued, listener));
    }
}
