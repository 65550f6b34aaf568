//! Opens a named pipe whose other end is not open.

use std::fs::File;
use std::time::Duration;

pub(crate) fn prepare(stall: Duration) -> impl Future<Output = ()> + Send {
    let path = crate::stage::fifo("open");
    let other_end = path.clone();
    async move {
        crate::stage::later(stall, move || File::options().write(true).open(other_end));
        let opened = File::open(&path); // BLOCKS: file std::fs::File::open
        drop(opened.unwrap());
    }
}
