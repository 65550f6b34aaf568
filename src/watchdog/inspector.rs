//! Inspects the thread of one worker: samples its CPU times and captures its
//! stack, by the way that disturbs the thread least.

use std::sync::atomic::Ordering::Acquire;
use std::thread;
use std::time::{Duration, Instant};

use crate::capture::signal::{StackAnswer, StackRequester};
use crate::capture::unwind::Unwound;
use crate::capture::{machine, passive};
use crate::evidence::{CallInfo, Capture};
use crate::finding::{Cause, Evidence};
use crate::os::{self, ThreadInfo};
use crate::process::Process;
use crate::record::clock::Clock;
use crate::record::slot::Slot;
use crate::self_metrics::{CaptureOutcome, SelfMetrics};
use crate::settings::Signals;
use crate::watchdog::call_info::{call_info, call_info_by_wait_function, syscall_before};
use crate::watchdog::last_sleep::LastSleep;
use crate::watchdog::lock_search;
use crate::watchdog::procfs::{self, ProcReader};
use crate::watchdog::restart;
use crate::watchdog::sample::{InSyscall, ParkPlace, ThreadActivity, ThreadSample, ThreadTimes};
use crate::watchdog::stack_capture;
use crate::watchdog::syscalls::{self, Syscall};

pub(crate) use crate::capture::unwind::Unwinder;

/// How long the watchdog waits for the answer of a running thread before it
/// continues with other workers. A thread on a CPU answers within about 30 µs.
const ANSWER_TIMEOUT: Duration = Duration::from_micros(500);
/// A thread that is on a CPU for this long is not about to leave or to enter a
/// call in which it waits.
const MIN_TIME_ON_CPU: Duration = Duration::from_micros(20);
/// How often the watchdog reads again what a thread does if that changed since
/// the sample.
const MAX_ACTIVITY_READS: u32 = 3;

/// Returns whether [`park_place`] can tell where a thread waits.
pub(crate) fn shows_park_places() -> bool {
    procfs::is_of_own_pid_namespace()
}

/// Returns where a parked thread waits, if [`shows_park_places`]. Opens and
/// closes a file.
pub(crate) fn park_place(thread: ThreadInfo) -> ParkPlace {
    let call = match procfs::read_activity(Process::Own, thread.tid) {
        ThreadActivity::InSyscall(call) => call,
        ThreadActivity::Running => return ParkPlace::Nowhere,
        ThreadActivity::OutsideSyscall | ThreadActivity::Unknown => return ParkPlace::Unknown,
    };
    match syscalls::find(call.number).map(|known| known.name) {
        Some("epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "io_uring_enter") => ParkPlace::Driver,
        Some("futex") => ParkPlace::Condvar,
        _ => ParkPlace::Unknown,
    }
}

/// Inspects one thread.
pub(crate) struct Inspector {
    thread: ThreadInfo,
    slot: &'static Slot,
    proc_reader: ProcReader,
    /// Present while the thread is in a poll that had a request.
    requester: Option<StackRequester>,
    open_request: Option<OpenRequest>,
    signals_sent: u64,
    last_sample: Option<ThreadSample>,
    /// Whether the thread was on a CPU for most of the time between the last
    /// two samples, apart from its waits for a CPU.
    was_mostly_on_cpu: bool,
    /// The last sleep of a thread that the last sample found runnable.
    last_sleep: LastSleep,
}

/// A request for a stack that has not been answered yet.
struct OpenRequest {
    /// The age of the poll at the request.
    age_nanos: u64,
    /// Whether the thread was running or runnable.
    is_running: bool,
    is_uninterruptible: bool,
    /// The system call in which the thread waited.
    call: Option<(InSyscall, CallInfo)>,
}

/// What a capture needs in addition to the thread.
pub(crate) struct CaptureTools<'t> {
    pub(crate) unwinder: &'t mut Unwinder,
    pub(crate) self_metrics: &'t SelfMetrics,
    pub(crate) signals: Signals,
}

impl Inspector {
    pub(crate) fn new(thread: ThreadInfo, slot: &'static Slot) -> Self {
        Self {
            thread,
            slot,
            proc_reader: ProcReader::new(Process::Own, thread.tid),
            requester: None,
            open_request: None,
            signals_sent: 0,
            last_sample: None,
            was_mostly_on_cpu: false,
            last_sleep: LastSleep::default(),
        }
    }

    pub(crate) fn thread(&self) -> ThreadInfo {
        self.thread
    }

    /// Returns how many signals the thread has got. Each makes it run.
    pub(crate) fn signals_sent(&self) -> u64 {
        self.signals_sent
    }

    pub(crate) fn sample(&mut self, clock: &Clock) -> Option<ThreadSample> {
        let sample = self.proc_reader.sample(clock)?;
        if let Some(before) = self.last_sample.replace(sample) {
            let waited = sample.times.known_wait_since(before.times.run_queue_nanos);
            let elapsed = clock.nanos(before.times.at, sample.times.at).saturating_sub(waited);
            let grown = sample.times.cpu_nanos.saturating_sub(before.times.cpu_nanos);
            self.was_mostly_on_cpu = grown > 0 && grown >= elapsed / 2;
        }
        if !sample.is_runnable() {
            self.last_sleep = LastSleep::default();
        } else if !self.last_sleep.is_observed() {
            self.observe_sleeps();
        }
        Some(sample)
    }

    /// Reads how often the thread has slept. Its CPU time is read after that:
    /// an older one would count what the thread ran before its last sleep.
    fn observe_sleeps(&mut self) {
        let sleeps = self.proc_reader.sleeps();
        if let Some(cpu_nanos) = os::thread_cpu_nanos(self.thread.tid) {
            self.last_sleep.add(sleeps, cpu_nanos);
        }
    }

    /// Returns whether a capture that is due has to wait for a later sample:
    /// the thread is runnable, and may have just woken in a call that a signal
    /// would interrupt.
    pub(crate) fn defers_capture(&mut self, now: &ThreadSample, signals: Signals) -> bool {
        if signals != Signals::Safe || !now.is_runnable() {
            return false;
        }
        self.observe_sleeps();
        self.last_sleep.may_show_a_run(now.times.cpu_nanos)
    }

    /// Returns whether the thread computes, as far as the samples show it.
    fn is_on_cpu(&self, now: &ThreadSample) -> bool {
        match now.activity {
            ThreadActivity::Running => true,
            ThreadActivity::InSyscall(_) | ThreadActivity::OutsideSyscall => false,
            ThreadActivity::Unknown => {
                let has_run = now.is_runnable() && self.last_sleep.has_run_until(now.times.cpu_nanos);
                has_run || self.was_mostly_on_cpu
            }
        }
    }

    /// Returns the thread's CPU times. This costs a quarter of a sample.
    pub(crate) fn times(&self, clock: &Clock) -> Option<ThreadTimes> {
        self.proc_reader.times(clock)
    }

    /// As [`Self::times`], but without what costs most: the run-queue time and
    /// the number of slices.
    pub(crate) fn cpu_times(&self, clock: &Clock) -> Option<ThreadTimes> {
        self.proc_reader.cpu_times(clock)
    }

    /// Captures the poll with the number `seq`, whose age is `age_nanos`.
    /// Returns `None` if the thread moved on during the capture, or if the
    /// answer has not arrived yet: see [`Self::take_answer`].
    pub(crate) fn capture(
        &mut self,
        seq: u64,
        age_nanos: u64,
        now: &ThreadSample,
        tools: &mut CaptureTools<'_>,
    ) -> Option<Capture> {
        match now.activity {
            ThreadActivity::InSyscall(call) => self.capture_waiting(seq, age_nanos, call, now, tools),
            ThreadActivity::Running | ThreadActivity::OutsideSyscall | ThreadActivity::Unknown => {
                let is_running = self.is_on_cpu(now);
                let is_uninterruptible = now.state == b'D';
                let request = OpenRequest { age_nanos, is_running, is_uninterruptible, call: None };
                if self.may_signal(now, tools.signals) && self.request_stack(seq, request, now, tools.signals)
                {
                    return self.await_answer(tools);
                }
                tools.self_metrics.count_capture(CaptureOutcome::NoStack);
                Some(self.capture_without_stack(age_nanos, now))
            }
        }
    }

    /// Returns whether a signal may be sent to a thread that is in no known
    /// system call.
    ///
    /// A runnable thread may have just woken in a call that the signal would
    /// interrupt, and on a busy machine it stays there until it gets a CPU. So
    /// it must have run since it last slept. Where the kernel does not report
    /// the number of sleeps, it must be on a CPU, and its call must be known.
    fn may_signal(&self, now: &ThreadSample, signals: Signals) -> bool {
        match (signals, now.activity) {
            (Signals::Never, _) => false,
            (Signals::Always, _) | (Signals::Safe, ThreadActivity::OutsideSyscall) => true,
            (Signals::Safe, ThreadActivity::InSyscall(_)) => false,
            (Signals::Safe, ThreadActivity::Unknown) => now.is_runnable() && self.has_run_since_sleep(now),
            (Signals::Safe, ThreadActivity::Running) => {
                if self.last_sleep.is_observed() {
                    self.has_run_since_sleep(now)
                } else {
                    self.proc_reader.is_on_cpu_for(MIN_TIME_ON_CPU)
                }
            }
        }
    }

    /// Returns whether the thread has run for some time since it last slept,
    /// until now.
    fn has_run_since_sleep(&self, now: &ThreadSample) -> bool {
        self.last_sleep.has_run_until(now.times.cpu_nanos)
            && self.last_sleep.is_last(self.proc_reader.sleeps())
    }

    /// Returns whether the thread still does what the sample found it doing,
    /// and may still get a signal. The watchdog asks directly before it sends
    /// one, because a thread that ran may have entered a call since.
    ///
    /// A thread that was found in a call may be found in it again: what makes
    /// the signal safe holds for the call. A thread that runs again after a
    /// call may have just woken in it.
    fn is_still(&self, now: &ThreadSample, signals: Signals) -> bool {
        let is_again = || self.proc_reader.activity() == now.activity;
        match now.activity {
            ThreadActivity::Unknown => {
                self.proc_reader.state().unwrap_or(b'?') == now.state && self.may_signal(now, signals)
            }
            ThreadActivity::Running => is_again() && self.may_signal(now, signals),
            ThreadActivity::OutsideSyscall => (0..MAX_ACTIVITY_READS).any(|_| is_again()),
            ThreadActivity::InSyscall(_) => {
                let is_in_state = || now.state != b'D' || self.proc_reader.state() == Some(b'D');
                (0..MAX_ACTIVITY_READS).any(|_| is_again() && is_in_state())
            }
        }
    }

    /// Returns which of these locks the thread seems to hold; `None` if its
    /// stack cannot be read.
    pub(crate) fn seems_to_hold(&self, locks: &[u64]) -> Option<Vec<bool>> {
        let ThreadActivity::InSyscall(call) = self.proc_reader.activity() else { return None };
        let stack = passive::copy(Process::Own, self.thread, call.sp, call.pc)?;
        let is_held =
            |lock| !lock_search::is_waiting_for(&call, lock) && lock_search::has_on_stack(&stack, lock);
        Some(locks.iter().map(|lock| is_held(*lock)).collect())
    }

    pub(crate) fn has_open_request(&self) -> bool {
        self.open_request.is_some()
    }

    /// Returns a capture from the sample alone, without a stack.
    pub(crate) fn capture_without_stack(&self, age_nanos: u64, now: &ThreadSample) -> Capture {
        let is_on_cpu = self.is_on_cpu(now);
        let call = match now.activity {
            ThreadActivity::InSyscall(call) => {
                Some(call_info(Process::Own, &call, syscalls::find(call.number)))
            }
            ThreadActivity::Unknown if !is_on_cpu => {
                self.proc_reader.wait_function().map(call_info_by_wait_function)
            }
            ThreadActivity::Running | ThreadActivity::OutsideSyscall | ThreadActivity::Unknown => None,
        };
        let capture = Capture::without_stack(age_nanos, is_on_cpu, call);
        Capture { uninterruptible: now.state == b'D' && !is_on_cpu, ..capture }
    }

    fn capture_waiting(
        &mut self,
        seq: u64,
        age_nanos: u64,
        call: InSyscall,
        now: &ThreadSample,
        tools: &mut CaptureTools<'_>,
    ) -> Option<Capture> {
        let known = syscalls::find(call.number);
        let stack = passive::copy(Process::Own, self.thread, call.sp, call.pc);
        let is_unchanged =
            self.proc_reader.activity() == ThreadActivity::InSyscall(call) && self.is_in_poll(seq);
        if !is_unchanged {
            // The thread moved on during the copy. If the poll continues, a
            // later pass captures it.
            tools.self_metrics.count_capture(CaptureOutcome::Outdated);
            return None;
        }
        let Some(stack) = stack else {
            // The stack cannot be read. The call is known all the same.
            tools.self_metrics.count_capture(CaptureOutcome::NoStack);
            return Some(self.capture_without_stack(age_nanos, now));
        };
        let info = call_info(Process::Own, &call, known);
        let unwound = stack_capture::unwind(&stack, Some(&call), tools.unwinder);
        // The signal handler copies nothing of another stack than the thread's
        // own, because it does not know the bounds.
        let is_own_stack = (self.thread.stack_bottom..self.thread.stack_top).contains(&(call.sp as usize));
        if unwound.evidence == Evidence::Leaf && is_own_stack {
            let is_uninterruptible = now.state == b'D';
            let may_signal = match tools.signals {
                Signals::Never => false,
                Signals::Safe => self.is_safe_to_signal(call, known, is_uninterruptible, &unwound, tools),
                Signals::Always => true,
            };
            let call = Some((call, info.clone()));
            let request = OpenRequest { age_nanos, is_running: false, is_uninterruptible, call };
            let is_requested = may_signal && self.request_stack(seq, request, now, tools.signals);
            if is_requested && !is_uninterruptible {
                return self.await_answer(tools);
            }
        }
        tools.self_metrics.count_capture(CaptureOutcome::Passive);
        let unwound =
            if unwound.evidence == Evidence::Leaf { tools.unwinder.reconstruct(&stack) } else { unwound };
        let capture = stack_capture::capture(age_nanos, unwound, false, Some(info), tools.unwinder);
        Some(Capture { uninterruptible: now.state == b'D', ..capture })
    }

    /// Returns whether the program cannot notice a signal to the waiting
    /// thread.
    fn is_safe_to_signal(
        &self,
        call: InSyscall,
        known: Option<&Syscall>,
        is_uninterruptible: bool,
        leaf: &Unwound,
        tools: &mut CaptureTools<'_>,
    ) -> bool {
        let Some(syscall) = known else { return false };
        // The signal to a thread in an uninterruptible wait is delivered when
        // the call returns, or earlier if it comes to an interruptible wait.
        if restart::is_restarted(syscall.restart, &call, is_uninterruptible) {
            return true;
        }
        // `std::thread::sleep` itself continues an interrupted sleep.
        let is_sleep = syscall.name == "clock_nanosleep" && !is_uninterruptible;
        let caller = leaf.addresses.get(1).filter(|_| is_sleep);
        caller.is_some_and(|address| tools.unwinder.is_within(*address, thread::sleep as *const () as u64))
    }

    /// Requests a stack by signal. Returns whether the request was sent. It is
    /// not sent if the thread does something else than at the sample.
    fn request_stack(
        &mut self,
        seq: u64,
        request: OpenRequest,
        now: &ThreadSample,
        signals: Signals,
    ) -> bool {
        if self.requester.is_none() {
            self.requester = StackRequester::new(self.thread.tid);
        }
        let Some(requester) = &self.requester else { return false };
        // These calls take long, so they come before the last look at what the
        // thread does.
        let Some(signal) = StackRequester::signal() else { return false };
        if !self.receives(signal, signals) {
            return false;
        }
        if self.open_request.is_none() {
            // A handler that was still writing when its request was cancelled
            // is done by now; this discards its copy.
            requester.cancel();
        }
        let is_requested =
            self.is_still(now, signals) && requester.request(self.thread, self.slot.seq(), seq);
        if is_requested {
            self.open_request = Some(request);
            self.signals_sent += 1;
        }
        is_requested
    }

    /// Returns whether the thread does not block the signal. A blocked signal
    /// would stay pending: the application would read it from a `signalfd`, or
    /// it would end the next program after an `execve`. In valgrind, all
    /// threads seem to block all signals.
    fn receives(&self, signal: i32, signals: Signals) -> bool {
        signals == Signals::Always || self.proc_reader.is_blocked(signal) == Some(false)
    }

    fn await_answer(&mut self, tools: &mut CaptureTools<'_>) -> Option<Capture> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let capture = self.take_answer(tools);
            if capture.is_some() || self.open_request.is_none() || Instant::now() >= deadline {
                return capture;
            }
            thread::sleep(Duration::from_micros(20));
        }
    }

    /// Returns the answer to the open request, if it has arrived.
    pub(crate) fn take_answer(&mut self, tools: &mut CaptureTools<'_>) -> Option<Capture> {
        self.open_request.as_ref()?;
        match self.requester.as_ref()?.answer() {
            StackAnswer::Pending => None,
            StackAnswer::OtherPoll => {
                tools.self_metrics.count_capture(CaptureOutcome::Outdated);
                self.open_request = None;
                None
            }
            StackAnswer::OtherStack => {
                tools.self_metrics.count_capture(CaptureOutcome::NoStack);
                let OpenRequest { age_nanos, is_running, is_uninterruptible, call } =
                    self.open_request.take()?;
                let on_cpu = is_running && !is_uninterruptible;
                Some(Capture::without_stack(age_nanos, on_cpu, call.map(|(_, info)| info)))
            }
            StackAnswer::Copied(stack) => {
                tools.self_metrics.count_capture(CaptureOutcome::Signal);
                let OpenRequest { age_nanos, is_uninterruptible, call, .. } = self.open_request.take()?;
                let was_outside_call = call.is_none();
                let in_kernel = !was_outside_call || machine::follows_syscall(Process::Own, stack.ip);
                let call = call.or_else(|| {
                    let call = syscall_before(Process::Own, &stack).filter(|_| in_kernel)?;
                    Some((call, call_info(Process::Own, &call, syscalls::find(call.number))))
                });
                let unwound =
                    stack_capture::unwind(&stack, call.as_ref().map(|(call, _)| call), tools.unwinder);
                let info = call.map(|(_, info)| info);
                // A system call with the cause `Other` or `Cpu`, such as one
                // that returns memory or reads a clock, is work of the kernel
                // and counts as computing. A call with another cause, such as
                // one on a file, does not.
                let is_work = |call: &CallInfo| matches!(call.cause, Cause::Other | Cause::Cpu);
                let is_kernel_work = was_outside_call && info.as_ref().is_none_or(is_work);
                let on_cpu = !is_uninterruptible && (!in_kernel || is_kernel_work);
                Some(Capture {
                    uninterruptible: is_uninterruptible,
                    ..stack_capture::capture(age_nanos, unwound, on_cpu, info, tools.unwinder)
                })
            }
        }
    }

    /// Ends the requests of a poll. Cancels the open one, whose signal has not
    /// arrived: the thread may block signals. Returns what is known of the poll
    /// without an answer.
    ///
    /// Other threads may use the target of signals after that. A target whose
    /// signal may still arrive is kept, because a new requester would not know
    /// when that signal was sent.
    pub(crate) fn end_requests(&mut self) -> Option<Capture> {
        if let Some(requester) = &self.requester {
            requester.cancel();
        }
        self.requester.take_if(|requester| requester.is_quiet());
        let OpenRequest { age_nanos, is_running, is_uninterruptible, call } = self.open_request.take()?;
        Some(Capture::without_stack(age_nanos, is_running && !is_uninterruptible, call.map(|(_, info)| info)))
    }

    /// Returns whether the thread is still in the poll with the number `seq`.
    pub(crate) fn is_in_poll(&self, seq: u64) -> bool {
        self.slot.seq().load(Acquire) == seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::slot;

    fn sample(state: u8, activity: ThreadActivity, cpu_nanos: u64) -> ThreadSample {
        let times = ThreadTimes { cpu_nanos, slices: 7, ..ThreadTimes::default() };
        ThreadSample { times, is_on_cpu: false, state, activity }
    }

    #[test]
    fn a_thread_in_an_unknown_call_gets_a_signal_only_once_it_has_run() {
        let thread = os::current_thread().unwrap();
        let mut inspector = Inspector::new(thread, slot::take());
        for state in [b'S', b'D', b'T', b'?'] {
            let waits = sample(state, ThreadActivity::Unknown, 0);
            assert!(!inspector.defers_capture(&waits, Signals::Safe));
            assert!(!inspector.may_signal(&waits, Signals::Safe), "{}", char::from(state));
            assert!(inspector.may_signal(&waits, Signals::Always));
        }
        let runs = |cpu_nanos| sample(b'R', ThreadActivity::Unknown, cpu_nanos);
        let later = os::thread_cpu_nanos(thread.tid).unwrap() + 3_600_000_000_000;
        // This thread may sleep in the test itself, on a busy machine.
        let has_run = (0..100).any(|_| {
            assert!(!inspector.may_signal(&runs(0), Signals::Safe));
            let is_deferred = inspector.defers_capture(&runs(0), Signals::Safe);
            assert!(!inspector.may_signal(&runs(0), Signals::Safe));
            let has_run = !inspector.defers_capture(&runs(later), Signals::Safe);
            let may_signal = inspector.may_signal(&runs(later), Signals::Safe);
            inspector.last_sleep = LastSleep::default();
            is_deferred && has_run && may_signal
        });
        assert!(has_run);
        assert!(!inspector.may_signal(&runs(u64::MAX), Signals::Never));
    }

    /// A thread has an inspector for as long as it lives.
    #[test]
    fn an_inspector_holds_a_target_of_signals_only_during_a_poll() {
        let thread = os::current_thread().unwrap();
        let mut inspector = Inspector::new(thread, slot::take());
        let seq = inspector.slot.seq().load(Acquire);
        for _ in 0..2 {
            let request =
                OpenRequest { age_nanos: 0, is_running: true, is_uninterruptible: false, call: None };
            let now = sample(b'R', ThreadActivity::Unknown, 0);
            assert!(inspector.request_stack(seq, request, &now, Signals::Always));
            // The thread has sent the signal to itself.
            let answer = inspector.requester.as_ref().map(StackRequester::answer);
            assert!(matches!(answer, Some(StackAnswer::Copied(_))));
            inspector.end_requests();
            assert!(inspector.requester.is_none());
        }
    }

    #[test]
    fn a_thread_that_waits_for_a_page_may_get_a_signal() {
        let inspector = Inspector::new(os::current_thread().unwrap(), slot::take());
        let waits = sample(b'D', ThreadActivity::OutsideSyscall, 0);
        assert!(inspector.may_signal(&waits, Signals::Safe));
        assert!(!inspector.may_signal(&waits, Signals::Never));
    }
}
