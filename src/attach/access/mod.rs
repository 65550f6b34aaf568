//! Whether a process can be read, and what is missing if not.
//!
//! The decision is made by trying: the kernel has more rules than this code
//! knows. Only if it refuses, facts are collected that show which rule it was.

mod facts;
mod refusal;
mod status;
mod tokio_version;

use std::fs::File;
use std::io::{ErrorKind, Read};

use crate::attach::access::facts::Facts;
use crate::attach::access::refusal::refusal;
pub(crate) use crate::attach::access::tokio_version::check_tokio;
use crate::attach::error::AttachError;
use crate::process::Process;

/// The machine of an ELF file that this program can read.
const OWN_MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
const ELF_MAGIC: [u8; 4] = [0x7f, b'E', b'L', b'F'];
const ELF_CLASS_32: u8 = 1;

/// Checks that the process `pid` exists, that its memory can be read, and that
/// its program is of a kind that can be understood.
///
/// # Errors
///
/// Says what is missing, and the least that helps.
pub(crate) fn check(pid: i32) -> Result<(), AttachError> {
    match refusal(&Facts::collect(pid)) {
        Some(error) => Err(error),
        None => check_files(pid).and_then(|()| check_program(pid)),
    }
}

/// Checks that the files of the process in `/proc` can be opened: that of the
/// pages in memory, without which the whole heap would have to be read, and
/// those of the threads. The right to read memory is not enough for files of
/// another user. A kernel that does not have them is no error.
fn check_files(pid: i32) -> Result<(), AttachError> {
    let is_refused = |name: &&str| {
        let opened = File::open(Process::Other(pid).proc_path(name));
        opened.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    if !["pagemap", "syscall"].iter().any(is_refused) {
        return Ok(());
    }
    // The files of a process that has ended meanwhile belong to root, too.
    Err(refusal(&Facts::collect(pid)).unwrap_or(AttachError::FilesOfOtherUser { pid }))
}

/// Reads the head of the program's file. A file that cannot be read is no
/// error: the memory can be.
fn check_program(pid: i32) -> Result<(), AttachError> {
    let mut head = [0; 20];
    let path = Process::Other(pid).proc_path("exe");
    if File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_err() {
        return Ok(());
    }
    program_fault(pid, &head).map_or(Ok(()), Err)
}

fn program_fault(pid: i32, head: &[u8; 20]) -> Option<AttachError> {
    let [m0, m1, m2, m3, class, .., machine_low, machine_high] = *head;
    if [m0, m1, m2, m3] != ELF_MAGIC {
        None
    } else if u16::from_le_bytes([machine_low, machine_high]) != OWN_MACHINE {
        let is_32_bit = class == ELF_CLASS_32;
        Some(if is_32_bit { AttachError::Is32Bit { pid } } else { AttachError::OtherArchitecture { pid } })
    } else {
        (class == ELF_CLASS_32).then_some(AttachError::Is32Bit { pid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_other_machines_are_named() {
        let head = |class: u8, machine: u16| {
            let mut head = [0; 20];
            head[..4].copy_from_slice(&ELF_MAGIC);
            head[4] = class;
            head[18..].copy_from_slice(&machine.to_le_bytes());
            head
        };
        assert_eq!(program_fault(7, &head(2, OWN_MACHINE)), None);
        assert_eq!(program_fault(7, &head(1, 3)), Some(AttachError::Is32Bit { pid: 7 }));
        assert_eq!(program_fault(7, &head(1, OWN_MACHINE)), Some(AttachError::Is32Bit { pid: 7 }), "x32");
        assert_eq!(program_fault(7, &head(2, 243)), Some(AttachError::OtherArchitecture { pid: 7 }));
        assert_eq!(program_fault(7, &[0; 20]), None, "no ELF file");
    }

    #[test]
    fn this_process_can_be_read() {
        assert_eq!(check(crate::os::getpid()), Ok(()));
    }

    #[test]
    fn an_id_without_a_process_is_said() {
        for pid in [i32::MAX, 0, -1, i32::MIN] {
            assert_eq!(check(pid), Err(AttachError::NotFound { pid }));
        }
    }

    #[test]
    fn a_thread_of_a_process_is_no_process() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let (tids, new_tids) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tids.send(crate::os::current_thread_id()).unwrap();
            let _ = receiver.recv();
        });
        let tid = new_tids.recv().unwrap();
        assert_eq!(check(tid), Err(AttachError::NotAProcess { tid, pid: crate::os::getpid() }));
        drop(sender);
        thread.join().unwrap();
    }

    #[test]
    fn a_thread_of_the_kernel_is_said() {
        // kthreadd; in a container, another process may have this id.
        if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
            assert_eq!(check(2), Err(AttachError::KernelThread { pid: 2 }));
        } else {
            eprintln!("NOT CHECKED: /proc shows no thread of the kernel here");
        }
    }

    #[test]
    #[allow(clippy::zombie_processes)]
    fn a_zombie_is_said() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let begin = std::time::Instant::now();
        while check(pid) != Err(AttachError::Zombie { pid }) {
            assert!(begin.elapsed().as_secs() < 10, "{:?}", check(pid));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.wait().unwrap();
        assert_eq!(check(pid), Err(AttachError::NotFound { pid }));
    }
}
