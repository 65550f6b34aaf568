//! Whether the program cannot notice that a signal interrupts the system call
//! of a waiting thread.

use std::path::Path;

use crate::capture::descriptor::Descriptor;
use crate::os;
use crate::process::Process;
use crate::watchdog::sample::InSyscall;
use crate::watchdog::syscalls::{Flags, Restart};

/// Returns whether the kernel certainly restarts this call after a signal, and
/// the call has not done a part of its work.
pub(crate) fn is_restarted(restart: Restart, call: &InSyscall, is_uninterruptible: bool) -> bool {
    let fd = call.arguments[0] as i32;
    match restart {
        Restart::Always => true,
        Restart::IfNull(argument) => call.arguments[argument] == 0,
        Restart::IfUninterruptible => is_uninterruptible,
        Restart::Receive(flags) => !asks_for_all_bytes(call, flags) && !os::has_receive_timeout(fd),
        Restart::Read => match Descriptor::from_fd(Process::Own, fd) {
            Some(Descriptor::Socket { .. }) => !os::has_receive_timeout(fd),
            Some(Descriptor::Pipe) => true,
            Some(Descriptor::Path(path)) => is_uninterruptible && !is_device(&path),
            Some(Descriptor::Other(_)) | None => false,
        },
        Restart::Write => match Descriptor::from_fd(Process::Own, fd) {
            Some(Descriptor::Path(path)) => is_uninterruptible && !is_device(&path),
            Some(Descriptor::Pipe | Descriptor::Socket { .. } | Descriptor::Other(_)) | None => false,
        },
        Restart::Never => false,
    }
}

fn asks_for_all_bytes(call: &InSyscall, flags: Option<Flags>) -> bool {
    flags.is_some_and(|Flags(argument)| call.arguments[argument] & libc::MSG_WAITALL as u64 != 0)
}

/// Returns whether a path may be that of a device, whose driver decides what a
/// signal does.
fn is_device(path: &Path) -> bool {
    path.starts_with("/dev")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::net::UdpSocket;
    use std::os::fd::{AsRawFd, RawFd};
    use std::time::Duration;

    use super::*;
    use crate::watchdog::syscalls;

    fn is_safe(number: i64, arguments: &[u64], is_uninterruptible: bool) -> bool {
        let mut call = InSyscall { number, arguments: [0; 6], sp: 0, pc: 0 };
        call.arguments[..arguments.len()].copy_from_slice(arguments);
        is_restarted(syscalls::find(number).unwrap().restart, &call, is_uninterruptible)
    }

    fn argument(fd: RawFd) -> u64 {
        fd as u64
    }

    #[test]
    fn a_call_with_a_timeout_gets_no_signal_in_any_state() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let fd = argument(socket.as_raw_fd());
        for (timeout, expected) in [(None, true), (Some(Duration::from_secs(9)), false)] {
            socket.set_read_timeout(timeout).unwrap();
            for is_uninterruptible in [false, true] {
                for number in [libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_read, libc::SYS_accept4] {
                    assert_eq!(is_safe(number, &[fd], is_uninterruptible), expected, "{number} {timeout:?}");
                }
                assert!(!is_safe(libc::SYS_futex, &[0, 0, 0, 0x7ffd], is_uninterruptible));
                assert!(is_safe(libc::SYS_futex, &[0, 0, 0, 0], is_uninterruptible));
            }
        }
    }

    #[test]
    fn a_call_that_may_have_moved_bytes_gets_no_signal() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let fd = argument(socket.as_raw_fd());
        let all = libc::MSG_WAITALL as u64;
        let (_reader, writer) = io::pipe().unwrap();
        for is_uninterruptible in [false, true] {
            assert!(!is_safe(libc::SYS_recvfrom, &[fd, 0, 9, all], is_uninterruptible));
            assert!(!is_safe(libc::SYS_recvmsg, &[fd, 0, all], is_uninterruptible));
            assert!(!is_safe(libc::SYS_write, &[fd], is_uninterruptible));
            assert!(!is_safe(libc::SYS_write, &[argument(writer.as_raw_fd())], is_uninterruptible));
        }
    }

    #[test]
    fn a_call_on_a_file_gets_a_signal_only_in_an_uninterruptible_wait() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let fd = argument(file.as_raw_fd());
        for number in [libc::SYS_read, libc::SYS_write, libc::SYS_pread64, libc::SYS_fsync, libc::SYS_openat]
        {
            assert!(is_safe(number, &[fd], true), "{number}");
            assert!(!is_safe(number, &[fd], false), "{number}");
        }
        let (reader, _writer) = io::pipe().unwrap();
        assert!(is_safe(libc::SYS_read, &[argument(reader.as_raw_fd())], false));
    }
}
