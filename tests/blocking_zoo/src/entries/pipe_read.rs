//! Reads a pipe that gets no data.

use std::io::{Read, Write};
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    async move {
        crate::stage::later(stall, move || writer.write_all(b"x"));
        let read = reader.read(&mut [0; 16]); // BLOCKS: file <std::io::PipeReader as std::io::Read>::read
        assert_eq!(read.unwrap(), 1);
    }
}
