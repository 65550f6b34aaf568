//! Reads the state of a thread from `/proc`, without disturbing the thread.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::os;
use crate::record::clock::Clock;
use crate::watchdog::sample::{InSyscall, ThreadActivity, ThreadSample, ThreadTimes};

/// A sample that took longer was interrupted. Its values belong to two moments,
/// so it is read again.
const MAX_SAMPLE_NANOS: u64 = 200_000;
/// How many times a sample is read at most. The last one is used in any case.
const MAX_SAMPLE_ATTEMPTS: u32 = 3;

/// The open `/proc` files of one thread. A sample makes three reads, which take
/// one or two microseconds each.
#[derive(Debug)]
pub(crate) struct ProcReader {
    tid: i32,
    schedstat: Option<File>,
    stat: Option<File>,
    syscall: Option<File>,
}

impl ProcReader {
    /// Opens the files. If a file cannot be opened, the samples lack its
    /// values.
    pub(crate) fn new(tid: i32) -> Self {
        let open = |name| File::open(format!("/proc/self/task/{tid}/{name}")).ok();
        Self { tid, schedstat: open("schedstat"), stat: open("stat"), syscall: open("syscall") }
    }

    /// Samples the thread; `None` once the thread has ended.
    pub(crate) fn sample(&self, clock: &Clock) -> Option<ThreadSample> {
        let mut attempts_left = MAX_SAMPLE_ATTEMPTS;
        loop {
            let begin = clock.ticks();
            let sample = self.read(clock)?;
            attempts_left -= 1;
            if attempts_left == 0 || clock.nanos(begin, clock.ticks()) < MAX_SAMPLE_NANOS {
                return Some(sample);
            }
        }
    }

    /// Reads the values in an order in which a delay between two of them never
    /// hides a wait for a CPU: if the state shows that the thread does not
    /// wait, the run-queue time that is read after it has all earlier waits.
    fn read(&self, clock: &Clock) -> Option<ThreadSample> {
        let cpu_nanos = os::thread_cpu_nanos(self.tid)?;
        let at = clock.ticks();
        let state = self.state().unwrap_or(b'?');
        let activity = self.activity();
        let is_on_cpu = state == b'R' && os::thread_cpu_nanos(self.tid)? > cpu_nanos;
        let (run_queue_nanos, slices) = self.schedule().unwrap_or_default();
        let times = ThreadTimes { at, cpu_nanos, run_queue_nanos, slices };
        Some(ThreadSample { times, is_on_cpu, state, activity })
    }

    /// Reads the CPU times only; `None` once the thread has ended.
    pub(crate) fn times(&self, clock: &Clock) -> Option<ThreadTimes> {
        let cpu_nanos = os::thread_cpu_nanos(self.tid)?;
        let at = clock.ticks();
        let (run_queue_nanos, slices) = self.schedule().unwrap_or_default();
        Some(ThreadTimes { at, cpu_nanos, run_queue_nanos, slices })
    }

    /// Returns the time in the run queue, and how many times the thread was put
    /// on a CPU.
    fn schedule(&self) -> Option<(u64, u64)> {
        let mut buffer = [0; 96];
        let text = read(self.schedstat.as_ref()?, &mut buffer).ok()?;
        let mut fields = text.split_whitespace().skip(1).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    }

    fn state(&self) -> Option<u8> {
        let mut buffer = [0; 96];
        let text = read(self.stat.as_ref()?, &mut buffer).ok()?;
        // The name before the state is in parentheses. It may contain any
        // character, even parentheses.
        text.as_bytes().get(text.rfind(')')? + 2).copied()
    }

    /// Returns what the thread does now.
    pub(crate) fn activity(&self) -> ThreadActivity {
        let mut buffer = [0; 256];
        let text = self.syscall.as_ref().and_then(|file| read(file, &mut buffer).ok());
        text.and_then(parse_activity).unwrap_or(ThreadActivity::Unknown)
    }
}

fn read<'b>(file: &File, buffer: &'b mut [u8]) -> io::Result<&'b str> {
    let length = file.read_at(buffer, 0)?;
    // A thread's name may end in the middle of a character. Then the text is
    // not valid UTF-8 and is not used.
    std::str::from_utf8(&buffer[..length]).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Parses a line of `/proc/self/task/TID/syscall`: `running`, or `number arg0 …
/// arg5 sp pc`, or `-1 sp pc` for a thread that waits outside of a system call.
fn parse_activity(line: &str) -> Option<ThreadActivity> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if first == "running" {
        return Some(ThreadActivity::Running);
    }
    let number = first.parse().ok().filter(|number| *number >= 0)?;
    let mut hex = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = hex()?;
    }
    Some(ThreadActivity::InSyscall(InSyscall { number, arguments, sp: hex()?, pc: hex()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_syscall_are_parsed() {
        assert_eq!(parse_activity("running\n"), Some(ThreadActivity::Running));
        assert_eq!(parse_activity("-1 0x7f 0x80\n"), None);
        assert_eq!(parse_activity(""), None);
        assert_eq!(parse_activity("230 0x0 zz"), None);
        let line = "230 0x0 0x0 0x7ffd 0x7ffe 0x0 0x1 0x7fffffffe000 0x7f12\n";
        let Some(ThreadActivity::InSyscall(call)) = parse_activity(line) else { panic!("not parsed") };
        assert_eq!(
            (call.number, call.arguments[2], call.sp, call.pc),
            (230, 0x7ffd, 0x7fff_ffff_e000, 0x7f12)
        );
    }

    #[test]
    fn a_running_thread_is_sampled_until_it_ends() {
        use std::sync::atomic::AtomicBool;
        use std::sync::atomic::Ordering::Relaxed;
        use std::sync::mpsc;
        static IS_OVER: AtomicBool = AtomicBool::new(false);
        let clock = Clock::new();
        let (send_tid, receive_tid) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            send_tid.send(os::current_thread().unwrap().tid).unwrap();
            while !IS_OVER.load(Relaxed) {
                std::hint::spin_loop();
            }
        });
        let reader = ProcReader::new(receive_tid.recv().unwrap());
        while reader.sample(&clock).unwrap().activity != ThreadActivity::Running {
            std::thread::yield_now();
        }
        IS_OVER.store(true, Relaxed);
        thread.join().unwrap();
        // The kernel may need a moment to remove the thread.
        while reader.sample(&clock).is_some() {
            std::thread::yield_now();
        }
    }
}
