//! A process whose threads, code and memory are read.

use std::path::{Path, PathBuf};

use crate::os;

/// Overwrites a copy of memory before it is freed. In a later search of the
/// own memory, what is left of the copy of a task would be taken for a task.
#[cfg(all(feature = "attach", stack_capture))]
pub(crate) fn wipe(copy: &mut [u8]) {
    copy.fill(0);
    // Else the compiler removes the writes to memory that is freed next.
    std::hint::black_box(copy);
}

/// The process that loopscope reads: the one that it runs in, or another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Process {
    /// The process that this code runs in.
    Own,
    /// The process with this id.
    #[cfg_attr(not(feature = "attach"), allow(dead_code))]
    Other(i32),
}

impl Process {
    /// Returns the path of a file of the process in `/proc`.
    pub(crate) fn proc_path(self, name: &str) -> String {
        match self {
            Self::Own => format!("/proc/self/{name}"),
            Self::Other(pid) => format!("/proc/{pid}/{name}"),
        }
    }

    /// Returns the path of a file of one of its threads in `/proc`.
    pub(crate) fn thread_path(self, tid: i32, name: &str) -> String {
        self.proc_path(&format!("task/{tid}/{name}"))
    }

    /// Returns where this process may find a file that the kernel shows for the
    /// process with an absolute path. The other process may have another root
    /// directory. The path is below that one if its mounts are others, as in a
    /// container, and below this one's after a mere `chroot`.
    pub(crate) fn file_paths(self, path: &Path) -> Vec<PathBuf> {
        match self {
            Self::Own => vec![path.to_owned()],
            Self::Other(_) => {
                let below_root = path.strip_prefix("/").unwrap_or(path);
                vec![Path::new(&self.proc_path("root")).join(below_root), path.to_owned()]
            }
        }
    }

    /// Returns the path of the program, as the process knows it. The kernel
    /// marks the path of a program that was deleted or replaced; the mark is
    /// removed.
    pub(crate) fn program_path(self) -> Option<PathBuf> {
        let path = std::fs::read_link(self.proc_path("exe")).ok()?;
        match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
            Some(path) => Some(PathBuf::from(path)),
            None => Some(path),
        }
    }

    /// Returns the user that the process runs as.
    pub(crate) fn owner(self) -> Option<u32> {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        #[cfg(unix)]
        return std::fs::metadata(self.proc_path("")).ok().map(|folder| folder.uid());
        #[cfg(not(unix))]
        None
    }

    /// Returns the directory that the process works in.
    pub(crate) fn current_folder(self) -> Option<PathBuf> {
        std::fs::read_link(self.proc_path("cwd")).ok()
    }

    /// Returns when the process started, in clock ticks since the machine did.
    /// It tells a process from a later one with the same id.
    #[cfg(feature = "attach")]
    pub(crate) fn start_time(self) -> Option<u64> {
        self.stat_field(22)?.parse().ok()
    }

    /// Returns whether the process has ended and its parent has not noticed.
    #[cfg(feature = "attach")]
    pub(crate) fn is_zombie(self) -> bool {
        matches!(self.stat_field(3).as_deref(), Some("Z" | "X"))
    }

    /// Returns the letter of the state of its first thread, as in proc(5).
    #[cfg(feature = "attach")]
    pub(crate) fn state(self) -> Option<char> {
        self.stat_field(3)?.chars().next()
    }

    /// Returns the id of the parent process.
    #[cfg(feature = "attach")]
    pub(crate) fn parent(self) -> Option<i32> {
        self.stat_field(4)?.parse().ok()
    }

    /// Returns a field of the file `stat`, counted from 1 as in proc(5). The
    /// name, field 2, is in parentheses and may be any bytes.
    #[cfg(feature = "attach")]
    fn stat_field(self, number: usize) -> Option<String> {
        let stat = std::fs::read(self.proc_path("stat")).ok()?;
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let fields = String::from_utf8_lossy(stat.get(after_name..)?).into_owned();
        fields.split_whitespace().nth(number.checked_sub(3)?).map(str::to_owned)
    }

    /// Copies memory. Returns `None` if an address is not mapped or must not be
    /// read.
    pub(crate) fn read(self, address: u64, length: usize) -> Option<Vec<u8>> {
        os::read_memory(self.other_pid(), usize::try_from(address).ok()?, length)
    }

    /// Copies memory from `address` on, at most `length` bytes, up to the first
    /// page that cannot be read.
    pub(crate) fn read_until_fault(self, address: u64, length: usize) -> Vec<u8> {
        let Ok(address) = usize::try_from(address) else { return Vec::new() };
        os::read_memory_until_fault(self.other_pid(), address, length)
    }

    /// Copies memory from `address` on to `buffer`, up to the first page that
    /// cannot be read. Returns the number of bytes.
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) fn read_into(self, address: u64, buffer: &mut [u8]) -> usize {
        let Ok(address) = usize::try_from(address) else { return 0 };
        os::read_memory_into(self.other_pid(), address, buffer)
    }

    /// Copies pieces of memory, each with its address and length, one after the
    /// other to `buffer`, up to the first page that cannot be read. Returns the
    /// number of bytes. The kernel may copy only the first pieces.
    #[cfg(all(feature = "attach", stack_capture))]
    pub(crate) fn read_pieces(self, pieces: &[(usize, usize)], buffer: &mut [u8]) -> usize {
        os::read_memory_pieces(self.other_pid(), pieces, buffer)
    }

    /// Returns the id of the other process.
    pub(crate) fn other_pid(self) -> Option<i32> {
        match self {
            Self::Own => None,
            Self::Other(pid) => Some(pid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_the_same_by_the_id_of_this_process() {
        let value = [1_u8, 2, 3, 4];
        let address = value.as_ptr().addr() as u64;
        for process in [Process::Own, Process::Other(os::getpid())] {
            assert_eq!(process.read(address, 4).unwrap(), value);
            assert_eq!(process.read_until_fault(address, 4), value);
            assert!(process.read(8, 4).is_none());
            assert!(process.program_path().unwrap().is_absolute());
        }
    }

    #[test]
    fn a_file_of_another_process_is_below_its_root() {
        let path = Path::new("/usr/bin/server");
        assert_eq!(Process::Own.file_paths(path), [path]);
        assert_eq!(Process::Other(7).file_paths(path), [Path::new("/proc/7/root/usr/bin/server"), path]);
        assert_eq!(Process::Other(7).thread_path(9, "stat"), "/proc/7/task/9/stat");
    }
}
