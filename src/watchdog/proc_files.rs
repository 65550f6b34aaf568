//! The open `/proc` files of threads: a few, for the threads that were sampled
//! last.
//!
//! Most threads are never sampled, and a thread in a stall is sampled again and
//! again. All scopes of the process share these files, so the number of
//! descriptors is bounded whatever the number of threads.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use crate::lock::Lock;
use crate::os;
use crate::per_process::PerProcess;
use crate::process::Process;

/// How many threads have open files.
const MAX_THREADS: usize = 8;
/// Descriptors that are left to the program. If fewer are free, a file is
/// closed again once it was read.
const RESERVED_DESCRIPTORS: usize = 32;

/// A file of a thread in `/proc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcFile {
    Schedstat,
    Stat,
    Syscall,
}

impl ProcFile {
    const COUNT: usize = 3;

    fn name(self) -> &'static str {
        match self {
            Self::Schedstat => "schedstat",
            Self::Stat => "stat",
            Self::Syscall => "syscall",
        }
    }
}

/// The open files of one thread.
#[derive(Debug)]
struct ThreadFiles {
    process: Process,
    tid: i32,
    files: [Option<File>; ProcFile::COUNT],
}

impl ThreadFiles {
    fn is(&self, process: Process, tid: i32) -> bool {
        (self.process, self.tid) == (process, tid)
    }
}

#[derive(Debug, Default)]
struct OpenFiles {
    /// The thread that was sampled last is at the back.
    threads: Vec<ThreadFiles>,
    /// A descriptor that is given up for a moment to open a file while no
    /// descriptor is free.
    spare: Option<File>,
}

static OPEN: PerProcess<Lock<OpenFiles>> = PerProcess::new();

/// Takes a spare descriptor, so that threads can be sampled when no descriptor
/// is free.
pub(crate) fn take_spare() {
    let spare = &mut OPEN.get().lock().spare;
    if spare.is_none() {
        *spare = File::open("/dev/null").ok();
    }
}

/// Reads a file of a thread into `buffer`. Returns its length,
/// or `None` if the file cannot be opened or read.
pub(crate) fn read(process: Process, tid: i32, file: ProcFile, buffer: &mut [u8]) -> Option<usize> {
    let OpenFiles { threads, spare } = &mut *OPEN.get().lock();
    match threads.iter().position(|thread| thread.is(process, tid)) {
        Some(index) => {
            let thread = threads.remove(index);
            threads.push(thread);
        }
        None => {
            if threads.len() >= MAX_THREADS {
                threads.remove(0);
            }
            threads.push(ThreadFiles { process, tid, files: [const { None }; ProcFile::COUNT] });
        }
    }
    let kept = &mut threads.last_mut()?.files[file as usize];
    if let Some(known) = kept {
        if let Ok(length) = known.read_at(buffer, 0) {
            return Some(length);
        }
        // The thread has ended. Another one may have its number.
        *kept = None;
    }
    let path = process.thread_path(tid, file.name());
    let opened = match File::open(&path) {
        Err(error) if is_out_of_descriptors(&error) => {
            return read_with_spare(spare, || File::open(&path).ok()?.read_at(buffer, 0).ok());
        }
        opened => opened.ok()?,
    };
    let length = opened.read_at(buffer, 0).ok()?;
    if has_descriptors_left(&opened) {
        *kept = Some(opened);
    }
    Some(length)
}

/// Reads the file `status` of a thread, and closes it again.
pub(crate) fn read_status(process: Process, tid: i32) -> Option<Vec<u8>> {
    let path = process.thread_path(tid, "status");
    match fs::read(&path) {
        Err(error) if is_out_of_descriptors(&error) => {
            read_with_spare(&mut OPEN.get().lock().spare, || fs::read(&path).ok())
        }
        bytes => bytes.ok(),
    }
}

/// Reads a file while no descriptor is free. Another thread may take the spare
/// descriptor in the meantime; then there is none until [`take_spare`].
fn read_with_spare<T>(spare: &mut Option<File>, read: impl FnOnce() -> Option<T>) -> Option<T> {
    drop(spare.take()?);
    let result = read();
    *spare = File::open("/dev/null").ok();
    result
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Closes the files of a thread.
pub(crate) fn close(process: Process, tid: i32) {
    OPEN.get().lock().threads.retain(|thread| !thread.is(process, tid));
}

/// Returns whether files of threads are open besides those of the thread `tid`
/// of this process.
pub(crate) fn has_files_besides(tid: i32) -> bool {
    OPEN.get().lock().threads.iter().any(|thread| !thread.is(Process::Own, tid))
}

/// Closes the files of all threads besides those of the thread `tid` of this
/// process.
pub(crate) fn close_all_besides(tid: i32) {
    OPEN.get().lock().threads.retain(|thread| thread.is(Process::Own, tid));
}

/// Returns whether the program has enough descriptors besides this one. The
/// system always gives out the lowest free number.
fn has_descriptors_left(file: &File) -> bool {
    let limit = os::descriptor_limit();
    usize::try_from(file.as_raw_fd()).is_ok_and(|number| number + RESERVED_DESCRIPTORS < limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_files() -> usize {
        OPEN.get().lock().threads.iter().flat_map(|thread| &thread.files).flatten().count()
    }

    /// Other tests sample threads at the same time.
    #[test]
    fn the_open_files_are_bounded_and_all_threads_can_be_read() {
        let threads: Vec<_> = (0..3 * MAX_THREADS)
            .map(|_| {
                let (send_tid, tid) = std::sync::mpsc::channel();
                let (release, released) = std::sync::mpsc::channel::<()>();
                let thread = std::thread::spawn(move || {
                    send_tid.send(os::current_thread().unwrap().tid).unwrap();
                    let _ = released.recv();
                });
                (tid.recv().unwrap(), release, thread)
            })
            .collect();
        for (tid, ..) in threads.iter().chain(&threads) {
            let mut buffer = [0; 96];
            let length = read(Process::Own, *tid, ProcFile::Stat, &mut buffer).unwrap();
            assert!(buffer[..length].starts_with(format!("{tid} (").as_bytes()));
            assert!(open_files() <= MAX_THREADS * ProcFile::COUNT);
        }
        for (tid, release, thread) in threads {
            drop(release);
            thread.join().unwrap();
            close(Process::Own, tid);
            assert!(OPEN.get().lock().threads.iter().all(|thread| !thread.is(Process::Own, tid)));
        }
    }
}
