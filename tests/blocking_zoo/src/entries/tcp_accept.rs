//! Accepts on a listener without clients.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    async move {
        crate::stage::later(stall, move || TcpStream::connect(address));
        let accepted = listener.accept(); // BLOCKS: network std::net::TcpListener::accept
        drop(accepted.unwrap());
    }
}
