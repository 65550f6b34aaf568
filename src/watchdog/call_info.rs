//! What a system call in progress says about a stall.

use crate::capture::descriptor::Descriptor;
use crate::capture::sockets::Transport;
use crate::capture::{CopiedStack, machine};
use crate::evidence::CallInfo;
use crate::finding::Cause;
use crate::process::Process;
use crate::watchdog::sample::InSyscall;
use crate::watchdog::syscalls::{Fd, Syscall};

/// Returns what the arguments of a call say. If a signal has interrupted the
/// call, only its first argument is known.
pub(crate) fn call_info(process: Process, call: &InSyscall, known: Option<&Syscall>) -> CallInfo {
    let Some(syscall) = known else {
        return CallInfo {
            name: format!("system call {}", call.number),
            cause: Cause::Other,
            fd: None,
            fd_type: None,
            lock: None,
            holders: None,
        };
    };
    let fd = match syscall.descriptor {
        Fd::None => None,
        Fd::Argument => Some(call.arguments[0] as i32),
        // A call on several descriptors is described by the first one.
        Fd::Polled => process
            .read(call.arguments[0], 4)
            .and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?))),
    };
    let descriptor = fd.and_then(|fd| Descriptor::from_fd(process, fd));
    let is_futex = syscall.name == "futex";
    let is_futex_wait = is_futex && is_futex_wait(call.arguments[1]);
    let is_wake = is_futex && !is_futex_wait;
    CallInfo {
        name: syscall.name.to_owned(),
        cause: if is_wake { Cause::Other } else { cause_of(syscall, descriptor.as_ref()) },
        fd: descriptor.as_ref().map(ToString::to_string),
        fd_type: descriptor.as_ref().and_then(std_type_of),
        lock: is_futex_wait.then_some(call.arguments[0]),
        holders: None,
    }
}

/// Returns whether a futex call with this operation waits. The others wake
/// threads or move them to another futex. If the operation is not known, it is
/// zero, which is `FUTEX_WAIT`.
fn is_futex_wait(operation: u64) -> bool {
    /// The other bits are flags, such as `FUTEX_PRIVATE_FLAG`.
    const COMMAND_BITS: u64 = 0x7f;
    /// `FUTEX_WAIT`, `FUTEX_LOCK_PI`, `FUTEX_WAIT_BITSET`,
    /// `FUTEX_WAIT_REQUEUE_PI`, `FUTEX_LOCK_PI2`.
    const WAITING_COMMANDS: [u64; 5] = [0, 6, 9, 11, 13];
    WAITING_COMMANDS.contains(&(operation & COMMAND_BITS))
}

/// Returns what the function of the kernel in which a thread waits says about
/// its system call, which is not known. The names differ between kernels. A
/// name that is in no row says only that the thread waits.
pub(crate) fn call_info_by_wait_function(function: String) -> CallInfo {
    const CAUSES: [(&str, Cause); 5] = [
        ("nanosleep", Cause::Sleep),
        ("futex", Cause::Lock),
        ("skb", Cause::Network),
        ("do_wait", Cause::Child),
        ("wait4", Cause::Child),
    ];
    let known = CAUSES.iter().find(|(part, _)| function.contains(part));
    let cause = known.map_or(Cause::Other, |(_, cause)| *cause);
    CallInfo { name: function, cause, fd: None, fd_type: None, lock: None, holders: None }
}

/// Returns the cause of a call. For `read`, `write` and `poll` it depends on
/// the descriptor.
fn cause_of(syscall: &Syscall, descriptor: Option<&Descriptor>) -> Cause {
    match (syscall.cause, descriptor) {
        (Cause::Other, Some(Descriptor::Socket { .. })) => Cause::Network,
        (Cause::Other, Some(Descriptor::Path(_) | Descriptor::Pipe)) => Cause::File,
        (cause, _) => cause,
    }
}

/// Returns the type in std that reads and writes this kind of descriptor.
fn std_type_of(descriptor: &Descriptor) -> Option<&'static str> {
    Some(match descriptor {
        Descriptor::Path(_) => "std::fs::File",
        Descriptor::Pipe => "std::io::pipe::Pipe",
        Descriptor::Socket { transport: Transport::Tcp, .. } => "std::net::tcp::Tcp",
        Descriptor::Socket { transport: Transport::Udp, .. } => "std::net::udp::Udp",
        Descriptor::Socket { transport: Transport::UnixStream, .. } => "std::os::unix::net::stream::",
        Descriptor::Socket { transport: Transport::UnixDatagram, .. } => "std::os::unix::net::datagram::",
        Descriptor::Socket { .. } | Descriptor::Other(_) => return None,
    })
}

/// Returns the call that a signal has interrupted, by the code before the
/// instruction pointer. The register of the first argument still holds its
/// value.
pub(crate) fn syscall_before(process: Process, stack: &CopiedStack) -> Option<InSyscall> {
    let first = stack.registers?.first_argument;
    let number = machine::syscall_number(process, stack.ip)?;
    Some(InSyscall { number, arguments: [first, 0, 0, 0, 0, 0], sp: stack.sp, pc: stack.ip })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::watchdog::syscalls;

    fn info(number: i64, arguments: [u64; 2]) -> CallInfo {
        let [first, second] = arguments;
        let call = InSyscall { number, arguments: [first, second, 0, 0, 0, 0], sp: 0, pc: 0 };
        call_info(Process::Own, &call, syscalls::find(number))
    }

    #[test]
    fn only_a_futex_call_that_waits_is_a_wait_for_a_lock() {
        const PRIVATE: u64 = 128;
        const CLOCK_REALTIME: u64 = 256;
        for wait in [0, 6, 9, 11, 13] {
            for flags in [0, PRIVATE, PRIVATE | CLOCK_REALTIME] {
                let info = info(libc::SYS_futex, [64, wait | flags]);
                assert_eq!((info.cause, info.lock), (Cause::Lock, Some(64)), "{wait} {flags}");
            }
        }
        for wake in [1, 3, 4, 5, 7, 8, 10, 12] {
            let info = info(libc::SYS_futex, [64, wake | PRIVATE]);
            assert_eq!((info.cause, info.lock), (Cause::Other, None), "{wake}");
        }
    }

    #[test]
    fn the_descriptor_decides_the_cause_of_a_copy_inside_the_kernel() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        let file = File::open("/proc/self/exe").unwrap();
        for number in [libc::SYS_sendfile, libc::SYS_splice] {
            let cause = |fd: i32| info(number, [fd as u64, 0]).cause;
            assert_eq!(cause(socket.as_raw_fd()), Cause::Network);
            assert_eq!(cause(file.as_raw_fd()), Cause::File);
        }
    }
}
