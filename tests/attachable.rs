//! `ScopeBuilder::attachable` asks the kernel for the permission, and without
//! it a scope does not.
//!
//! The kernel's answer depends on its security modules, so the test observes
//! the call: a seccomp filter turns it into a signal. The filter is for the
//! whole process, so this test program runs itself again.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
// SAFETY of all unsafe blocks: each call gets numbers, and pointers to
// initialised locals of the expected type, which outlive the call. The handler
// only stores to an atomic.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

#[macro_use]
mod common;

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::{io, mem, ptr};

use loopscope::{Scope, Terminal};

scenarios! {
    only_a_scope_that_is_attachable_asks_for_readers runs observed_permission;
}

/// How many times the kernel was asked.
static REQUESTS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_request(_signal: libc::c_int) {
    REQUESTS.fetch_add(1, Relaxed);
}

/// Makes each `prctl(PR_SET_PTRACER, …)` raise a signal.
fn observe_requests() {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let number_offset = mem::offset_of!(libc::seccomp_data, nr) as u32;
    let argument_offset = mem::offset_of!(libc::seccomp_data, args) as u32;
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        instruction(LOAD, 0, 0, number_offset),
        instruction(JUMP_IF_EQUAL, 0, 3, libc::SYS_prctl as u32),
        instruction(LOAD, 0, 0, argument_offset),
        instruction(JUMP_IF_EQUAL, 0, 1, libc::PR_SET_PTRACER as u32),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_TRAP),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = count_request as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGSYS, &raw const action, ptr::null_mut()), 0);
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter);
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }
}

#[test]
#[ignore = "a scenario that another test runs in a child process"]
fn observed_permission() {
    observe_requests();
    let start = |builder: loopscope::ScopeBuilder| drop(builder.terminal(Terminal::Never).start().unwrap());
    start(Scope::builder());
    start(Scope::builder().attachable(false));
    assert_eq!(REQUESTS.load(Relaxed), 0);
    start(Scope::builder().attachable(true));
    assert_eq!(REQUESTS.load(Relaxed), 1);
}
