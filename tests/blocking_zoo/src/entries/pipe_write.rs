//! Writes to a pipe that is not read.

use std::io::{Read, Write};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    async move {
        crate::stage::later(stall, move || reader.read_exact(&mut [0; 1 << 20]));
        let written = writer.write_all(&[0; 1 << 20]); // BLOCKS: file std::io::Write::write_all
        written.unwrap();
    }
}
