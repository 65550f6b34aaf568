//! Prints to stderr without a lock. If a thread that prints held std's lock of
//! stderr at a `fork`, the child's `eprintln!` would wait for ever.
#![allow(unsafe_code)]

/// Prints a text to stderr. If stderr accepts no more, the rest is dropped: an
/// error of stderr cannot be reported anywhere.
#[cfg(unix)]
pub(crate) fn print(text: &str) {
    write_all(libc::STDERR_FILENO, text.as_bytes());
}

#[cfg(not(unix))]
pub(crate) fn print(text: &str) {
    use std::io::{self, Write};

    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(unix)]
fn write_all(descriptor: i32, mut bytes: &[u8]) {
    use std::io::{Error, ErrorKind};

    while !bytes.is_empty() {
        // SAFETY: the call reads `bytes` and no more.
        let written = unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(0) => return,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(_) if Error::last_os_error().kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn a_text_larger_than_a_pipe_is_written_whole() {
        let text: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
        let (writer, mut reader) = UnixStream::pair().unwrap();
        let expected = text.clone();
        let thread = thread::spawn(move || write_all(writer.as_raw_fd(), &text));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        thread.join().unwrap();
        assert_eq!(read, expected);
    }

    #[test]
    fn the_rest_of_a_text_is_dropped_if_there_is_no_room() {
        let (writer, reader) = UnixStream::pair().unwrap();
        writer.set_nonblocking(true).unwrap();
        // Returns, although nothing reads.
        write_all(writer.as_raw_fd(), &vec![b'x'; 10_000_000]);
        drop(reader);
        write_all(-1, b"no such descriptor");
    }
}
