//! A peer that sends nothing.

use std::io::{Read, Write};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (mut ours, mut theirs) = crate::stage::connection();
    async move {
        crate::stage::later(stall, move || theirs.write_all(b"x"));
        let read = ours.read(&mut [0; 16]); // BLOCKS: network <std::net::TcpStream as std::io::Read>::read
        assert_eq!(read.unwrap(), 1);
    }
}
