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

/// Returns the width of the terminal that stderr is. `None` if it is none, or
/// does not know its width.
#[cfg(all(unix, feature = "diagnostic"))]
pub(crate) fn columns() -> Option<u16> {
    columns_of(libc::STDERR_FILENO)
}

#[cfg(all(not(unix), feature = "diagnostic"))]
pub(crate) fn columns() -> Option<u16> {
    None
}

#[cfg(all(unix, feature = "diagnostic"))]
fn columns_of(descriptor: i32) -> Option<u16> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call writes a `winsize` to `size`, and nothing if it fails.
    let result = unsafe { libc::ioctl(descriptor, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(size.ws_col)
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
    #[cfg(all(target_os = "linux", feature = "diagnostic"))]
    fn a_terminal_has_the_width_that_was_set() {
        // SAFETY: the pointers are to live values, or null where that is
        // allowed.
        let of_terminal = |columns: u16| unsafe {
            let (mut master, mut terminal) = (-1, -1);
            let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            let (name, attributes) = (std::ptr::null_mut(), std::ptr::null());
            let opened = libc::openpty(&mut master, &mut terminal, name, attributes, &raw const size);
            assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
            let found = columns_of(terminal);
            libc::close(master);
            libc::close(terminal);
            found
        };
        assert_eq!([60, 200, 0].map(of_terminal), [Some(60), Some(200), None]);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(columns_of(file.as_raw_fd()), None);
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
