//! The same with a timeout: a signal would show as an error.

use std::io::{ErrorKind, Read};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (mut ours, theirs) = crate::stage::connection();
    ours.set_read_timeout(Some(stall)).unwrap();
    async move {
        let read = ours.read(&mut [0; 16]); // BLOCKS: network <std::net::TcpStream as std::io::Read>::read
        assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(theirs);
    }
}
