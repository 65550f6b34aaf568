//! A thread of loopscope that ends with its owner, wherever the owner is
//! dropped.

use std::cell::Cell;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

use crate::fork::ProcessIdentity;
use crate::signal_mask::BlockedSignals;

/// How long a drop waits for the thread's end. The thread needs that long only
/// if the application's code, which it calls, does not return.
const END_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    /// Has no destructor, so it can be read while the thread ends.
    static IS_OWNED: Cell<bool> = const { Cell::new(false) };
}

/// A handle to a thread. The owner tells the thread to end before it drops the
/// handle. Drop then waits for the end, with these exceptions:
///
/// * On a thread of loopscope, it does not wait. That thread may be the one to
///   wait for, or the one that this one waits for.
/// * In a forked child there is no such thread, and no call may name it.
/// * After 10 seconds it leaves the thread to end by itself.
#[derive(Debug)]
pub(crate) struct OwnedThread {
    handle: Option<JoinHandle<()>>,
    process: ProcessIdentity,
}

impl OwnedThread {
    /// Starts a thread that blocks signals from its first instruction on.
    pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let _inherited = BlockedSignals::new();
        let handle = thread::Builder::new().name(name.to_owned()).spawn(move || {
            IS_OWNED.set(true);
            body();
        })?;
        Ok(Self { handle: Some(handle), process: ProcessIdentity::current() })
    }

    /// Returns whether the thread belongs to this process. It does not in a
    /// forked child.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process.is_current()
    }

    /// Returns whether the calling thread is this thread.
    pub(crate) fn is_current(&self) -> bool {
        self.handle.as_ref().is_some_and(|handle| handle.thread().id() == thread::current().id())
    }

    /// Wakes the thread from `thread::park`.
    pub(crate) fn unpark(&self) {
        if let Some(handle) = self.handle.as_ref().filter(|_| self.is_of_this_process()) {
            handle.thread().unpark();
        }
    }

    fn end(&mut self, timeout: Duration) {
        let Some(handle) = self.handle.take() else { return };
        if !self.is_of_this_process() {
            // Even detaching a thread that does not exist is an error.
            return mem::forget(handle);
        }
        if IS_OWNED.get() {
            return;
        }
        let begin = Instant::now();
        let mut interval = Duration::from_micros(20);
        while !handle.is_finished() {
            if begin.elapsed() >= timeout {
                let name = handle.thread().name().unwrap_or_default();
                tracing::warn!(
                    target: "loopscope",
                    "the thread `{name}` has not ended {timeout:?} after the end of its scope, because code of the \
                     application that it calls has not returned; it ends after that"
                );
                return;
            }
            thread::sleep(interval);
            interval = (interval * 2).min(Duration::from_millis(2));
        }
        // The panic hook has already printed a panic of that thread.
        let _ = handle.join();
    }
}

impl Drop for OwnedThread {
    fn drop(&mut self) {
        self.end(END_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_does_not_end_is_not_awaited_for_ever() {
        let (end, ended) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        let mut thread = OwnedThread::spawn("never-ends", move || {
            let _ = ended.recv();
            done.send(()).unwrap();
        })
        .unwrap();
        thread.end(Duration::from_millis(20));
        assert!(is_done.try_recv().is_err());
        drop(end);
        is_done.recv().unwrap();
    }

    #[test]
    fn threads_that_drop_each_other_end() {
        let (first, second) = (mpsc::channel::<OwnedThread>(), mpsc::channel::<OwnedThread>());
        let (done, is_done) = mpsc::channel();
        let drop_received = |receiver: mpsc::Receiver<OwnedThread>| {
            let done = done.clone();
            move || {
                drop(receiver.recv().unwrap());
                done.send(()).unwrap();
            }
        };
        let one = OwnedThread::spawn("one", drop_received(first.1)).unwrap();
        let two = OwnedThread::spawn("two", drop_received(second.1)).unwrap();
        first.0.send(two).unwrap();
        second.0.send(one).unwrap();
        is_done.recv().unwrap();
        is_done.recv().unwrap();
    }
}
