//! What a system call in progress says about a stall.

use crate::capture::descriptor::{Descriptor, Transport};
use crate::capture::{CopiedStack, machine};
use crate::evidence::CallInfo;
use crate::finding::Cause;
use crate::os;
use crate::watchdog::sample::InSyscall;
use crate::watchdog::syscalls::{Fd, Syscall};

/// What the arguments of a call say. Of a call that a signal has interrupted
/// only the first is known.
pub(crate) fn call_info(call: &InSyscall, known: Option<&Syscall>) -> CallInfo {
    let Some(syscall) = known else {
        return CallInfo {
            name: format!("system call {}", call.number),
            cause: Cause::Other,
            fd: None,
            fd_type: None,
            lock: None,
            holder: None,
        };
    };
    let fd = match syscall.descriptor {
        Fd::None => None,
        Fd::Argument => Some(call.arguments[0] as i32),
        // The first of several is as good as any.
        Fd::Polled => os::read_memory(call.arguments[0] as usize, 4)
            .and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?))),
    };
    let descriptor = fd.and_then(Descriptor::of);
    CallInfo {
        name: syscall.name.to_owned(),
        cause: cause_of(syscall, descriptor.as_ref()),
        fd: descriptor.as_ref().map(ToString::to_string),
        fd_type: descriptor.as_ref().and_then(type_of),
        lock: (syscall.name == "futex").then_some(call.arguments[0]),
        holder: None,
    }
}

/// `read`, `write` and `poll` mean what their descriptor is.
fn cause_of(syscall: &Syscall, descriptor: Option<&Descriptor>) -> Cause {
    match (syscall.cause, descriptor) {
        (Cause::Other, Some(Descriptor::Socket { .. })) => Cause::Network,
        (Cause::Other, Some(Descriptor::Path(_) | Descriptor::Pipe)) => Cause::File,
        (cause, _) => cause,
    }
}

fn type_of(descriptor: &Descriptor) -> Option<&'static str> {
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

/// The call that a signal has interrupted, by the code before it; the register
/// of its first argument outlives it.
pub(crate) fn syscall_before(stack: &CopiedStack) -> Option<InSyscall> {
    let first = stack.registers?.first_argument;
    let number = machine::syscall_number(stack.ip)?;
    Some(InSyscall { number, arguments: [first, 0, 0, 0, 0, 0], sp: stack.sp, pc: stack.ip })
}
