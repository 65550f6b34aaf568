//! Reads from a peer that sends nothing.

use std::io::{Read, Write};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (mut stream, mut peer) = crate::stage::connection();
    async move {
        crate::stage::later(stall, move || peer.write_all(b"x"));
        let read = stream.read(&mut [0; 16]); // BLOCKS: network <std::net::TcpStream as std::io::Read>::read
        assert_eq!(read.unwrap(), 1);
    }
}
