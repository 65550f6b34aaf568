//! Connects by host name: resolving the name takes the time.

use std::net::TcpStream;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let server = crate::stage::NameServer::start(stall);
    async move {
        server.ask_on_this_thread();
        let connected = TcpStream::connect("host.test:80"); // BLOCKS: dns std::net::TcpStream::connect
        assert!(connected.is_err());
    }
}
