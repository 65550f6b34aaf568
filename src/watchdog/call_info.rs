//! What a system call in progress says about a stall.

use crate::capture::descriptor::{Descriptor, Transport};
use crate::capture::{CopiedStack, machine};
use crate::evidence::CallInfo;
use crate::finding::Cause;
use crate::os;
use crate::watchdog::sample::InSyscall;
use crate::watchdog::syscalls::{Fd, Syscall};

/// Returns what the arguments of a call say. If a signal has interrupted the
/// call, only its first argument is known.
pub(crate) fn call_info(call: &InSyscall, known: Option<&Syscall>) -> CallInfo {
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
        Fd::Polled => os::read_memory(call.arguments[0] as usize, 4)
            .and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?))),
    };
    let descriptor = fd.and_then(Descriptor::from_fd);
    CallInfo {
        name: syscall.name.to_owned(),
        cause: cause_of(syscall, descriptor.as_ref()),
        fd: descriptor.as_ref().map(ToString::to_string),
        fd_type: descriptor.as_ref().and_then(std_type_of),
        lock: (syscall.name == "futex").then_some(call.arguments[0]),
        holders: None,
    }
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
pub(crate) fn syscall_before(stack: &CopiedStack) -> Option<InSyscall> {
    let first = stack.registers?.first_argument;
    let number = machine::syscall_number(stack.ip)?;
    Some(InSyscall { number, arguments: [first, 0, 0, 0, 0, 0], sp: stack.sp, pc: stack.ip })
}
