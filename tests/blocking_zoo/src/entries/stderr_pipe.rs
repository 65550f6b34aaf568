//! Prints to a pipe that nobody reads for a while.

use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

pub(crate) async fn prepare(stall: Duration) {
    let (mut reader, writer) = io::pipe().unwrap();
    // SAFETY: both descriptors are open.
    unsafe { libc::dup2(writer.as_raw_fd(), libc::STDERR_FILENO) };
    thread::spawn(move || {
        thread::sleep(stall);
        let _ = reader.read_to_end(&mut Vec::new());
    });
    let line = "served ".repeat(20_000);
    eprintln!("{line}"); // BLOCKS: file std::io::_eprint
    crate::stage::keep();
}
