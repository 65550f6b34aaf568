//! Opens events of the kernel's profiler (perf_event_open(2)).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// Bits of [`Attributes::flags`]: disabled until it is asked for, never shared
/// with other events, and neither the kernel's code nor a hypervisor's counts.
pub(super) const DISABLED: u64 = 1;
pub(super) const PINNED: u64 = 1 << 2;
pub(super) const EXCLUDE_KERNEL: u64 = 1 << 5;
pub(super) const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const FLAG_CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
/// `PERF_EVENT_IOC_REFRESH`: enables the event until it has occurred that many
/// times.
const REQUEST_REFRESH: libc::c_ulong = 0x2402;

/// The first version of `struct perf_event_attr` that has these fields.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) event_type: u32,
    pub(super) size: u32,
    pub(super) config: u64,
    pub(super) sample_period: u64,
    pub(super) sample_type: u64,
    pub(super) read_format: u64,
    pub(super) flags: u64,
    pub(super) wakeup_events: u32,
    pub(super) breakpoint_type: u32,
    /// The address of a breakpoint.
    pub(super) config_1: u64,
    /// The length of a breakpoint.
    pub(super) config_2: u64,
    pub(super) branch_sample_type: u64,
    pub(super) sample_regs_user: u64,
    pub(super) sample_stack_user: u32,
    pub(super) clock: i32,
}

/// Opens an event of one thread. It stops when the file is closed.
pub(super) fn open(tid: i32, attributes: Attributes) -> io::Result<File> {
    const ANY_CPU: libc::c_int = -1;
    const NO_GROUP: libc::c_int = -1;
    let attributes = Attributes { size: size_of::<Attributes>() as u32, ..attributes };
    let attributes = &raw const attributes;
    // SAFETY: the structure has the size that it says, and the call reads it
    // only.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, attributes, tid, ANY_CPU, NO_GROUP, FLAG_CLOSE_ON_EXEC)
    };
    match i32::try_from(fd) {
        // SAFETY: the descriptor is new, so nothing else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { File::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Enables an event until it has occurred once.
pub(super) fn enable_once(event: &File) -> io::Result<()> {
    // SAFETY: the request takes a number.
    if unsafe { libc::ioctl(event.as_raw_fd(), REQUEST_REFRESH as _, 1) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
