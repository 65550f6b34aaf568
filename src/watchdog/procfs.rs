//! Reads the state of a thread from `/proc`, without disturbing the thread.

use std::time::{Duration, Instant};
use std::{fs, hint, io};

use crate::os;
use crate::process::Process;
use crate::record::clock::{Clock, Ticks};
use crate::watchdog::proc_files::{self, ProcFile};
use crate::watchdog::sample::{InSyscall, ThreadActivity, ThreadSample, ThreadTimes};

/// A sample that took longer was interrupted. Its values belong to two moments,
/// so it is read again.
const MAX_SAMPLE_NANOS: u64 = 200_000;
/// How many times a sample is read at most. The last one is used in any case.
const MAX_SAMPLE_ATTEMPTS: u32 = 3;

/// Reads the `/proc` files of one thread. A sample makes three reads, which
/// take one or two microseconds each.
#[derive(Debug)]
pub(crate) struct ProcReader {
    process: Process,
    tid: i32,
    /// Whether `/proc` shows the threads of the process.
    is_own: bool,
}

impl ProcReader {
    /// Opens no file yet: see [`proc_files`](crate::watchdog::proc_files).
    pub(crate) fn new(process: Process, tid: i32) -> Self {
        let is_own = process != Process::Own || is_of_own_pid_namespace();
        Self { process, tid, is_own }
    }

    /// Samples the thread; `None` once the thread has ended.
    pub(crate) fn sample(&self, clock: &Clock) -> Option<ThreadSample> {
        read_without_delay(clock, || self.read(clock))
    }

    /// Reads the values in an order in which a delay between two of them never
    /// hides a wait for a CPU: if the state shows that the thread does not
    /// wait, the run-queue time that is read after it has all earlier waits.
    fn read(&self, clock: &Clock) -> Option<ThreadSample> {
        let cpu_nanos = self.cpu_nanos()?;
        let at = clock.ticks();
        let mut state = self.state().unwrap_or(b'?');
        let activity = self.activity();
        let is_on_cpu = state == b'R' && self.cpu_nanos()? > cpu_nanos;
        let times = self.times_with(at, cpu_nanos);
        // Without the run-queue time, only an unchanged CPU time shows that the
        // thread has slept since an earlier sample.
        if times.run_queue_nanos.is_none() && self.cpu_nanos()? > cpu_nanos && !is_on_cpu {
            state = b'?';
        }
        Some(ThreadSample { times, is_on_cpu, state, activity })
    }

    /// Reads the CPU times only; `None` once the thread has ended.
    pub(crate) fn times(&self, clock: &Clock) -> Option<ThreadTimes> {
        read_without_delay(clock, || self.read_times(clock))
    }

    /// Reads the CPU time only; `None` once the thread has ended.
    pub(crate) fn cpu_times(&self, clock: &Clock) -> Option<ThreadTimes> {
        read_without_delay(clock, || {
            let cpu_nanos = self.cpu_nanos()?;
            Some(ThreadTimes { at: clock.ticks(), cpu_nanos, run_queue_nanos: None, slices: 0 })
        })
    }

    fn read_times(&self, clock: &Clock) -> Option<ThreadTimes> {
        let cpu_nanos = self.cpu_nanos()?;
        let at = clock.ticks();
        Some(self.times_with(at, cpu_nanos))
    }

    fn times_with(&self, at: Ticks, cpu_nanos: u64) -> ThreadTimes {
        let schedule = self.schedule();
        let run_queue_nanos = schedule.map(|(run_queue_nanos, _)| run_queue_nanos);
        let slices = schedule.map_or(0, |(_, slices)| slices);
        ThreadTimes { at, cpu_nanos, run_queue_nanos, slices }
    }

    /// Returns the CPU time of the thread. The kernel does not let another
    /// process read the clock of a thread, so the CPU time of another process's
    /// thread is that of its last switch or timer tick.
    fn cpu_nanos(&self) -> Option<u64> {
        match self.process {
            Process::Own => os::thread_cpu_nanos(self.tid),
            Process::Other(_) => {
                let mut buffer = [0; 96];
                let text = std::str::from_utf8(self.read_file(ProcFile::Schedstat, &mut buffer)?).ok()?;
                text.split_whitespace().next()?.parse().ok()
            }
        }
    }

    /// Returns the time for which the thread was runnable but did not run.
    pub(crate) fn run_queue_nanos(&self) -> Option<u64> {
        self.schedule().map(|(run_queue_nanos, _)| run_queue_nanos)
    }

    /// Returns the time in the run queue, and how many times the thread was put
    /// on a CPU.
    fn schedule(&self) -> Option<(u64, u64)> {
        let mut buffer = [0; 96];
        let text = std::str::from_utf8(self.read_file(ProcFile::Schedstat, &mut buffer)?).ok()?;
        let mut fields = text.split_whitespace().skip(1).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    }

    /// Returns the letter of the thread's state now.
    pub(crate) fn state(&self) -> Option<u8> {
        let mut buffer = [0; 96];
        parse_state(self.read_file(ProcFile::Stat, &mut buffer)?)
    }

    /// Returns whether the thread is on a CPU for all of this time, which
    /// begins now. The CPU clock of a thread does not advance while it waits.
    pub(crate) fn is_on_cpu_for(&self, time: Duration) -> bool {
        let begin = Instant::now();
        let Some(before) = self.cpu_nanos() else { return false };
        while begin.elapsed() < time {
            hint::spin_loop();
        }
        let grown = self.cpu_nanos().map_or(0, |now| now.saturating_sub(before));
        // The first reading takes a part of the time.
        u128::from(grown) >= time.as_nanos() * 3 / 4
    }

    /// Returns the function of the kernel in which the thread waits. The kernel
    /// lets every thread of the process read this, also where it hides the
    /// system call.
    pub(crate) fn wait_function(&self) -> Option<String> {
        self.shows_stat().then_some(())?;
        let name = fs::read_to_string(self.process.thread_path(self.tid, "wchan")).ok()?;
        let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_graphic());
        // A thread that runs has `0`, and every thread of a kernel without
        // symbols.
        Some(name).filter(|name| !name.is_empty() && name != "0" && is_name(name))
    }

    /// Returns how many times the thread has slept until now. The kernel lets
    /// every thread of the process read this, also where it hides the system
    /// call.
    pub(crate) fn sleeps(&self) -> Option<u64> {
        parse_field(&self.status()?, "voluntary_ctxt_switches")
    }

    /// Returns whether the thread blocks a signal. The kernel lets every thread
    /// of the process read this.
    pub(crate) fn is_blocked(&self, signal: i32) -> Option<bool> {
        parse_is_in_set(&self.status()?, "SigBlk", signal)
    }

    fn status(&self) -> Option<Vec<u8>> {
        // Without this file, `/proc` may belong to other processes.
        self.shows_stat().then_some(())?;
        proc_files::read_status(self.process, self.tid)
    }

    /// Returns what the thread does now.
    pub(crate) fn activity(&self) -> ThreadActivity {
        let mut buffer = [0; 256];
        let line = self.read_file(ProcFile::Syscall, &mut buffer);
        line.and_then(parse_line).unwrap_or(ThreadActivity::Unknown)
    }

    fn shows_stat(&self) -> bool {
        self.read_file(ProcFile::Stat, &mut [0; 96]).is_some()
    }

    /// Returns the contents of a file, or `None` if it cannot be opened or
    /// read, or if `/proc` belongs to other processes.
    fn read_file<'b>(&self, file: ProcFile, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let length = self.is_own.then(|| proc_files::read(self.process, self.tid, file, buffer)).flatten()?;
        buffer.get(..length)
    }
}

/// Reads again if reading took long: a watchdog that loses its CPU between two
/// values gets values of different moments.
fn read_without_delay<T>(clock: &Clock, read: impl Fn() -> Option<T>) -> Option<T> {
    let mut attempts_left = MAX_SAMPLE_ATTEMPTS;
    loop {
        let begin = clock.ticks();
        let value = read()?;
        attempts_left -= 1;
        if attempts_left == 0 || clock.nanos(begin, clock.ticks()) < MAX_SAMPLE_NANOS {
            return Some(value);
        }
    }
}

impl Drop for ProcReader {
    fn drop(&mut self) {
        proc_files::close(self.process, self.tid);
    }
}

/// Returns what a thread does now, if [`is_of_own_pid_namespace`]. Opens and
/// closes a file, so the open files of stalled threads stay open.
pub(crate) fn read_activity(process: Process, tid: i32) -> ThreadActivity {
    let line = fs::read(process.thread_path(tid, "syscall")).ok();
    line.as_deref().and_then(parse_line).unwrap_or(ThreadActivity::Unknown)
}

fn parse_line(line: &[u8]) -> Option<ThreadActivity> {
    parse_activity(std::str::from_utf8(line).ok()?)
}

/// Returns the ids of the threads of a process; none if `/proc` does not show
/// them.
pub(crate) fn thread_ids(process: Process) -> Vec<i32> {
    let is_shown = process != Process::Own || is_of_own_pid_namespace();
    let entries = is_shown.then(|| fs::read_dir(process.proc_path("task")).ok()).flatten();
    let id = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    entries.into_iter().flatten().filter_map(id).collect()
}

/// Returns a thread's name, which may be any bytes, as printable text.
pub(crate) fn thread_name(process: Process, tid: i32) -> Option<String> {
    let name = fs::read(process.thread_path(tid, "comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(name.trim_end_matches('\n').replace(char::is_control, "\u{FFFD}"))
}

/// Returns whether `/proc` shows the ids of this process's own PID namespace.
/// Otherwise a thread id of this process may be the id of another thread there.
///
/// `NSpid` has one id for each namespace, from that of `/proc` to the process's
/// own. Kernels before 4.1 do not have it.
pub(crate) fn is_of_own_pid_namespace() -> bool {
    let ids =
        fs::read("/proc/self/status").ok().and_then(|status| field(&status, "NSpid").map(<[u8]>::to_owned));
    match ids {
        Some(ids) => ids.split(u8::is_ascii_whitespace).filter(|id| !id.is_empty()).count() == 1,
        None => fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == &*os::getpid().to_string()),
    }
}

/// Returns the value of a field of `/proc/self/status`. Each line is `NAME:`
/// and the value. The thread's name is one of the values and may be any bytes
/// except a line feed, which the kernel escapes.
fn field<'s>(status: &'s [u8], name: &str) -> Option<&'s [u8]> {
    status
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))
}

fn parse_field(status: &[u8], name: &str) -> Option<u64> {
    std::str::from_utf8(field(status, name)?).ok()?.trim().parse().ok()
}

/// Returns whether a field, a set of signals in hexadecimal, contains `signal`.
/// Bit 0 is signal 1. Some architectures have more than 64 signals.
fn parse_is_in_set(status: &[u8], name: &str, signal: i32) -> Option<bool> {
    let set = u128::from_str_radix(std::str::from_utf8(field(status, name)?).ok()?.trim(), 16).ok()?;
    let bit = u32::try_from(signal).ok()?.checked_sub(1)?;
    Some(set.checked_shr(bit)? & 1 == 1)
}

/// Parses a line of `/proc/self/task/TID/stat`. The name before the state is in
/// parentheses. It may contain any byte: the kernel cuts it after 15 bytes,
/// even in the middle of a character.
fn parse_state(line: &[u8]) -> Option<u8> {
    line.get(line.iter().rposition(|byte| *byte == b')')? + 2).copied()
}

/// Parses a line of `/proc/self/task/TID/syscall`: `running`, or `number arg0 …
/// arg5 sp pc`, or `-1 sp pc` for a thread that waits outside of a system call.
fn parse_activity(line: &str) -> Option<ThreadActivity> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if first == "running" {
        return Some(ThreadActivity::Running);
    }
    let number = first.parse().ok()?;
    if number < 0 {
        return Some(ThreadActivity::OutsideSyscall);
    }
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
        assert_eq!(parse_activity("-1 0x7f 0x80\n"), Some(ThreadActivity::OutsideSyscall));
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
    fn the_state_follows_a_name_of_any_bytes() {
        let cut =
            [b"77 (aaaaaaaaaaaaaa\xC3) S 1 77".as_slice(), b"77 (\xD0\xBF\xD0) S 1", b"77 (R) S 1 (x) S 1"];
        for line in cut {
            assert_eq!(parse_state(line), Some(b'S'), "{}", line.escape_ascii());
        }
        assert_eq!(parse_state(b"77 (cut"), None);
        assert_eq!(parse_state(b"77 (cut)"), None);
    }

    #[test]
    fn fields_of_status_follow_a_name_of_any_bytes() {
        let status = b"Name:\t\xC3 NSpid:\t9\nNSpid:\t12161\t4\nvoluntary_ctxt_switches:\t52\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(status, "NSpid"), Some(b"\t12161\t4".as_slice()));
        assert_eq!(parse_field(status, "voluntary_ctxt_switches"), Some(52));
        assert_eq!(parse_field(status, "NSpid"), None);
    }

    #[test]
    fn a_set_of_signals_is_a_number_of_which_bit_zero_is_signal_one() {
        let status = b"SigPnd:\t0000000000000000\nSigBlk:\t8000000000004001\nSigIgn:\tzz\n";
        let is_in = |signal| parse_is_in_set(status, "SigBlk", signal);
        assert_eq!([1, 15, 64].map(is_in), [Some(true); 3]);
        assert_eq!([2, 14, 16, 63].map(is_in), [Some(false); 4]);
        assert_eq!([0, -1, 1_000].map(is_in), [None; 3]);
        assert_eq!(parse_is_in_set(status, "SigIgn", 1), None);
        assert_eq!(parse_is_in_set(status, "SigCgt", 1), None);
    }

    #[test]
    fn a_thread_with_a_cut_name_is_sampled() {
        let (send_tid, receive_tid) = std::sync::mpsc::channel();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        // The kernel keeps 15 bytes, which end inside the last character.
        let builder = std::thread::Builder::new().name("\u{43F}".repeat(8));
        let wait = move || {
            send_tid.send(os::current_thread().unwrap().tid).unwrap();
            let _ = stopped.recv();
        };
        let thread = builder.spawn(wait).unwrap();
        let reader = ProcReader::new(Process::Own, receive_tid.recv().unwrap());
        while reader.state() != Some(b'S') {
            assert!(matches!(reader.state(), Some(b'R' | b'S' | b'D')), "{:?}", reader.state());
            std::thread::yield_now();
        }
        assert!(reader.sleeps().is_some());
        drop(stop);
        thread.join().unwrap();
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
        let reader = ProcReader::new(Process::Own, receive_tid.recv().unwrap());
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
