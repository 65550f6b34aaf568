//! Reads a named pipe that gets no data.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let path = crate::stage::fifo("read");
    // Open for reading and writing, so that opening it does not wait.
    let mut reader = File::options().read(true).write(true).open(&path).unwrap();
    let writer = reader.try_clone().unwrap();
    async move {
        crate::stage::later(stall, move || std::io::Write::write_all(&mut &writer, b"x"));
        let read = reader.read(&mut [0; 16]); // BLOCKS: file <std::fs::File as std::io::Read>::read
        assert_eq!(read.unwrap(), 1);
    }
}
