//! Reads with a timeout from a peer that sends nothing: a signal would show as
//! an error.

use std::io::{ErrorKind, Read};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (mut stream, peer) = crate::stage::connection();
    stream.set_read_timeout(Some(stall)).unwrap();
    async move {
        let read = stream.read(&mut [0; 16]); // BLOCKS: network <std::net::TcpStream as std::io::Read>::read
        assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(peer);
    }
}
