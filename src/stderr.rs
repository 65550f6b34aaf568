//! Prints to stderr without a lock, and reads the mode of its terminal. If a
//! thread that prints held std's lock of stderr at a `fork`, the child's
//! `eprintln!` would wait for ever.
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

/// What stderr is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StderrMode {
    /// A file, a pipe or nothing.
    NoTerminal,
    /// A terminal on which lines can be printed.
    Terminal,
    /// A terminal that a program uses in another way than line by line: text
    /// would destroy what it has drawn. Whether the program shows the alternate
    /// screen cannot be read; programs that do so use this mode.
    RawTerminal,
}

/// Returns what stderr is now.
#[cfg(unix)]
pub(crate) fn mode() -> StderrMode {
    mode_of(libc::STDERR_FILENO)
}

#[cfg(not(unix))]
pub(crate) fn mode() -> StderrMode {
    use std::io::{self, IsTerminal};

    if io::stderr().is_terminal() { StderrMode::Terminal } else { StderrMode::NoTerminal }
}

#[cfg(unix)]
fn mode_of(descriptor: i32) -> StderrMode {
    use std::mem::MaybeUninit;

    let mut attributes = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the call initialises `attributes` if it returns zero, and only
    // then is it read.
    let attributes = unsafe {
        if libc::tcgetattr(descriptor, attributes.as_mut_ptr()) != 0 {
            return StderrMode::NoTerminal;
        }
        attributes.assume_init()
    };
    let has_raw_output = attributes.c_oflag & libc::OPOST == 0;
    let has_raw_input = attributes.c_lflag & libc::ICANON == 0;
    // A shell at its prompt edits its line with raw input. Text of a process in
    // the background may come there, as that of any other program does.
    if has_raw_output || has_raw_input && is_in_foreground(descriptor) {
        StderrMode::RawTerminal
    } else {
        StderrMode::Terminal
    }
}

/// Returns whether this process is in the foreground of its terminal.
#[cfg(unix)]
fn is_in_foreground(terminal: i32) -> bool {
    // SAFETY: the calls access no memory of this process.
    unsafe { libc::tcgetpgrp(terminal) == libc::getpgrp() }
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
    use std::ptr::null_mut;
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

    #[test]
    fn raw_mode_is_known_by_its_output_or_by_its_input_in_the_foreground() {
        let (mut master, mut slave) = (-1, -1);
        // SAFETY: the call writes two descriptors to locals; the other pointers
        // may be null.
        let failed =
            unsafe { libc::openpty(&raw mut master, &raw mut slave, null_mut(), null_mut(), null_mut()) };
        assert_eq!(failed, 0);
        let change = |change: fn(&mut libc::termios)| {
            // SAFETY: all zero bytes are a valid value, and the calls access
            // only this local.
            unsafe {
                let mut attributes = std::mem::zeroed();
                assert_eq!(libc::tcgetattr(slave, &raw mut attributes), 0);
                change(&mut attributes);
                assert_eq!(libc::tcsetattr(slave, libc::TCSANOW, &raw const attributes), 0);
            }
        };
        assert_eq!(mode_of(slave), StderrMode::Terminal);
        change(|attributes| attributes.c_oflag &= !libc::OPOST);
        assert_eq!(mode_of(slave), StderrMode::RawTerminal);
        change(|attributes| attributes.c_oflag |= libc::OPOST);
        // It is not the terminal of this process, so the process is not in its
        // foreground.
        change(|attributes| attributes.c_lflag &= !libc::ICANON);
        assert_eq!(mode_of(slave), StderrMode::Terminal);
        // SAFETY: the descriptors are open and belong to this test.
        unsafe {
            libc::close(slave);
            libc::close(master);
        }
        assert_eq!(mode_of(-1), StderrMode::NoTerminal);
    }
}
