//! Writes to a peer that reads nothing.

use std::io::{Read, Write};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (mut stream, mut peer) = crate::stage::connection();
    let message = vec![0_u8; 32 << 20];
    async move {
        crate::stage::later(stall, move || peer.read_exact(&mut vec![0; 32 << 20]));
        let written = stream.write_all(&message); // BLOCKS: network std::io::Write::write_all
        written.unwrap();
    }
}
