//! A disk that is slow each time, for the mistake of [`certificate`].
//!
//! Real disks are slow now and then: under load, or over the network. A file of
//! this disk is the reading end of a pipe, which has a path. A thread writes
//! the contents into it after a while.
//!
//! [`certificate`]: super::certificate

use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, thread};

/// Maximum opened files that wait for their contents. Further ones are empty.
const MAX_QUEUED_FILES: usize = 1024;

/// The disk. Its thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct SlowDisk {
    files: mpsc::SyncSender<(PathBuf, PipeWriter)>,
}

/// An open file.
#[derive(Debug)]
pub(super) struct SlowFile {
    path: PathBuf,
    /// The path is valid as long as the pipe is open.
    _pipe: PipeReader,
}

impl SlowDisk {
    /// Starts the thread. Files are readable `delay` after they were opened.
    ///
    /// # Errors
    ///
    /// Returns an error if the thread cannot be started.
    pub(super) fn start(delay: Duration) -> io::Result<Self> {
        let (files, opened) = mpsc::sync_channel::<(PathBuf, PipeWriter)>(MAX_QUEUED_FILES);
        thread::Builder::new().name("slow-disk".into()).spawn(move || {
            for (path, mut writer) in opened {
                thread::sleep(delay);
                // If the file cannot be read, or nobody reads any more, the
                // pipe ends early, and the reader gets an incomplete file.
                let _ = fs::read(path).and_then(|contents| writer.write_all(&contents));
            }
        })?;
        Ok(Self { files })
    }

    /// Opens a file of any disk on this one.
    ///
    /// # Errors
    ///
    /// Returns an error if there are no descriptors left.
    pub(super) fn open(&self, path: impl AsRef<Path>) -> io::Result<SlowFile> {
        let (pipe, writer) = io::pipe()?;
        let file = SlowFile { path: path_of(&pipe, path.as_ref()), _pipe: pipe };
        // If the queue is full, the writer is dropped and the file is empty.
        let _ = self.files.try_send((path.as_ref().to_owned(), writer));
        Ok(file)
    }
}

impl SlowFile {
    /// Returns the path at which to read the contents.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(unix)]
fn path_of(pipe: &PipeReader, _: &Path) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    format!("/dev/fd/{}", pipe.as_raw_fd()).into()
}

/// Pipes have no path here, and the disk is as fast as the real one.
#[cfg(not(unix))]
fn path_of(_: &PipeReader, path: &Path) -> PathBuf {
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_open_file_has_the_contents_of_the_real_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let (real, missing) = (directory.path().join("real"), directory.path().join("missing"));
        fs::write(&real, vec![b'x'; 100_000]).expect("written");
        let disk = SlowDisk::start(Duration::from_millis(1)).expect("started");
        let (first, second) = (disk.open(&real).expect("opened"), disk.open(&real).expect("opened"));
        assert_eq!(fs::read(first.path()).expect("read").len(), 100_000);
        assert_eq!(fs::read(second.path()).expect("read").len(), 100_000);
        if cfg!(unix) {
            let missing = disk.open(&missing).expect("opened");
            assert_eq!(fs::read(missing.path()).expect("read"), b"");
        }
    }
}
