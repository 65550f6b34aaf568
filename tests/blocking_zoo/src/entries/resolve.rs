//! Resolves a host name with a slow name server.

use std::net::ToSocketAddrs;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let server = crate::stage::NameServer::start(stall);
    async move {
        server.ask_on_this_thread();
        let found = "host.test:80".to_socket_addrs(); // BLOCKS: dns <str as std::net::ToSocketAddrs>::to_socket_addrs
        assert!(found.is_err());
    }
}
