//! Inspects the thread of one worker: samples its CPU times and captures its
//! stack, by the way that disturbs the thread least.

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::thread;
use std::time::{Duration, Instant};

use crate::capture::signal::{StackAnswer, StackRequester};
use crate::capture::unwind::Unwound;
use crate::capture::{CopiedStack, machine, passive};
use crate::evidence::{CallInfo, Capture, CodeAddress, CodeFile};
use crate::finding::{Cause, Evidence};
use crate::os::{self, ThreadInfo};
use crate::record::clock::Clock;
use crate::record::slot::Slot;
use crate::self_metrics::{CaptureOutcome, SelfMetrics};
use crate::settings::Signals;
use crate::watchdog::call_info::{call_info, syscall_before};
use crate::watchdog::procfs::ProcReader;
use crate::watchdog::sample::{InSyscall, ThreadActivity, ThreadSample};
use crate::watchdog::syscalls::{self, Restart, Syscall};

pub(crate) use crate::capture::unwind::Unwinder;

/// How long the watchdog waits for the answer of a running thread before it
/// continues with other workers. A thread on a CPU answers within about 30 µs.
const ANSWER_TIMEOUT: Duration = Duration::from_micros(500);

/// Inspects one thread.
pub(crate) struct Inspector {
    thread: ThreadInfo,
    slot: &'static Slot,
    proc_reader: ProcReader,
    requester: Option<StackRequester>,
    open_request: Option<OpenRequest>,
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
        Self { thread, slot, proc_reader: ProcReader::new(thread.tid), requester: None, open_request: None }
    }

    pub(crate) fn thread(&self) -> ThreadInfo {
        self.thread
    }

    pub(crate) fn sample(&self, clock: &Clock) -> Option<ThreadSample> {
        self.proc_reader.sample(clock)
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
            ThreadActivity::InSyscall(call) => self.capture_waiting(seq, age_nanos, call, now.state, tools),
            ThreadActivity::Running | ThreadActivity::Unknown => {
                let is_running = now.activity == ThreadActivity::Running;
                // A thread in state D outside of a system call waits for a page
                // from disk.
                let is_uninterruptible = now.state == b'D';
                let request = OpenRequest { age_nanos, is_running, is_uninterruptible, call: None };
                if tools.signals != Signals::Never && self.request_stack(seq, request) {
                    return self.await_answer(tools);
                }
                tools.self_metrics.count_capture(CaptureOutcome::NoStack);
                Some(Capture::without_stack(age_nanos, is_running, None))
            }
        }
    }

    /// Returns whether the thread waits for something other than this lock and
    /// has the lock's address on its stack. A guard of a lock of std contains
    /// this address, so a thread that holds the lock usually has it on its
    /// stack.
    pub(crate) fn seems_to_hold(&self, lock: u64) -> bool {
        let ThreadActivity::InSyscall(call) = self.proc_reader.activity() else { return false };
        let is_waiter = call.number == libc::SYS_futex && call.arguments[0] == lock;
        let stack = || passive::copy(self.thread, call.sp, call.pc);
        !is_waiter
            && stack().is_some_and(|stack| stack.bytes.chunks_exact(8).any(|word| word == lock.to_ne_bytes()))
    }

    pub(crate) fn has_open_request(&self) -> bool {
        self.open_request.is_some()
    }

    /// Returns a capture from the sample alone, without a stack.
    pub(crate) fn capture_without_stack(&self, age_nanos: u64, now: &ThreadSample) -> Capture {
        let call = match now.activity {
            ThreadActivity::InSyscall(call) => Some(call_info(&call, syscalls::find(call.number))),
            ThreadActivity::Running | ThreadActivity::Unknown => None,
        };
        Capture::without_stack(age_nanos, now.activity == ThreadActivity::Running, call)
    }

    fn capture_waiting(
        &mut self,
        seq: u64,
        age_nanos: u64,
        call: InSyscall,
        state: u8,
        tools: &mut CaptureTools<'_>,
    ) -> Option<Capture> {
        let known = syscalls::find(call.number);
        let Some(stack) = self.copy_passively(seq, call) else {
            // The thread moved on during the copy. If the poll continues, a
            // later pass captures it.
            tools.self_metrics.count_capture(CaptureOutcome::Outdated);
            return None;
        };
        let info = call_info(&call, known);
        let unwound = unwind(&stack, Some(&call), tools.unwinder);
        if unwound.evidence == Evidence::Leaf {
            let is_uninterruptible = state == b'D';
            let may_signal = match tools.signals {
                Signals::Never => false,
                // The signal is delivered when the call returns, or earlier if
                // the call comes to an interruptible wait.
                Signals::Safe if is_uninterruptible => {
                    known.is_some_and(|syscall| syscall.restart != Restart::Never)
                }
                Signals::Safe => self.is_safe_to_signal(call, known, &unwound, tools),
                Signals::Always => true,
            };
            let call = Some((call, info.clone()));
            let request = OpenRequest { age_nanos, is_running: false, is_uninterruptible, call };
            let is_requested = may_signal && self.request_stack(seq, request);
            if is_requested && !is_uninterruptible {
                return self.await_answer(tools);
            }
        }
        tools.self_metrics.count_capture(CaptureOutcome::Passive);
        let unwound =
            if unwound.evidence == Evidence::Leaf { tools.unwinder.reconstruct(&stack) } else { unwound };
        let capture = capture(age_nanos, unwound, false, Some(info), tools.unwinder);
        Some(Capture { uninterruptible: state == b'D', ..capture })
    }

    /// Copies the stack from outside. Returns `None` unless the thread was in
    /// the same call and in the same poll before and after the copy.
    fn copy_passively(&self, seq: u64, call: InSyscall) -> Option<CopiedStack> {
        let stack = passive::copy(self.thread, call.sp, call.pc)?;
        let is_unchanged =
            self.proc_reader.activity() == ThreadActivity::InSyscall(call) && self.is_in_poll(seq);
        is_unchanged.then_some(stack)
    }

    /// Returns whether the program cannot notice a signal to the waiting
    /// thread.
    fn is_safe_to_signal(
        &self,
        call: InSyscall,
        known: Option<&Syscall>,
        leaf: &Unwound,
        tools: &mut CaptureTools<'_>,
    ) -> bool {
        match known.map(|syscall| syscall.restart) {
            Some(Restart::Always) => true,
            Some(Restart::IfNull(argument)) => call.arguments[argument] == 0,
            Some(Restart::IfNoReceiveTimeout) => !os::has_receive_timeout(call.arguments[0] as i32),
            Some(Restart::IfNoSendTimeout) => !os::has_send_timeout(call.arguments[0] as i32),
            // `std::thread::sleep` itself continues an interrupted sleep.
            Some(Restart::Never) | None => {
                let is_sleep = known.is_some_and(|syscall| syscall.name == "clock_nanosleep");
                let caller = leaf.addresses.get(1).filter(|_| is_sleep);
                caller.is_some_and(|address| {
                    tools.unwinder.is_within(*address, thread::sleep as *const () as u64)
                })
            }
        }
    }

    /// Requests a stack by signal. Returns whether the request was sent.
    fn request_stack(&mut self, seq: u64, request: OpenRequest) -> bool {
        if self.requester.is_none() {
            self.requester = StackRequester::new();
        }
        let Some(requester) = &self.requester else { return false };
        if self.open_request.is_none() {
            // A handler that was still writing when its request was cancelled
            // is done by now; this discards its copy.
            requester.cancel();
        }
        let is_requested = requester.request(self.thread, self.slot.seq(), seq);
        if is_requested {
            self.open_request = Some(request);
        }
        is_requested
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
            StackAnswer::Copied(stack) => {
                tools.self_metrics.count_capture(CaptureOutcome::Signal);
                let OpenRequest { age_nanos, is_uninterruptible, call, .. } = self.open_request.take()?;
                let was_outside_call = call.is_none();
                let in_kernel = !was_outside_call || machine::follows_syscall(stack.ip);
                let call = call.or_else(|| {
                    let call = syscall_before(&stack).filter(|_| in_kernel)?;
                    Some((call, call_info(&call, syscalls::find(call.number))))
                });
                let unwound = unwind(&stack, call.as_ref().map(|(call, _)| call), tools.unwinder);
                let info = call.map(|(_, info)| info);
                // A system call with the cause `Other`, such as one that
                // returns memory, is work of the kernel and counts as
                // computing. A call with another cause, such as one on a file,
                // does not.
                let is_kernel_work =
                    was_outside_call && info.as_ref().is_none_or(|call| call.cause == Cause::Other);
                let on_cpu = !is_uninterruptible && (!in_kernel || is_kernel_work);
                Some(Capture {
                    uninterruptible: is_uninterruptible,
                    ..capture(age_nanos, unwound, on_cpu, info, tools.unwinder)
                })
            }
        }
    }

    /// Cancels the open request, whose signal has not arrived: the thread may
    /// block signals. Returns what is known of the poll without an answer.
    pub(crate) fn cancel_request(&mut self) -> Option<Capture> {
        let OpenRequest { age_nanos, is_running, is_uninterruptible, call } = self.open_request.take()?;
        self.requester.as_ref()?.cancel();
        Some(Capture::without_stack(age_nanos, is_running && !is_uninterruptible, call.map(|(_, info)| info)))
    }

    /// Returns whether the thread is still in the poll with the number `seq`.
    pub(crate) fn is_in_poll(&self, seq: u64) -> bool {
        self.slot.seq().load(Acquire) == seq
    }
}

fn capture(
    age_nanos: u64,
    unwound: Unwound,
    on_cpu: bool,
    call: Option<CallInfo>,
    unwinder: &Unwinder,
) -> Capture {
    let no_file = Arc::new(CodeFile::none());
    let locate = |address: &u64| match unwinder.module_of(*address) {
        Some(module) => {
            CodeAddress { file: Arc::clone(&module.file), address: address.wrapping_sub(module.bias) }
        }
        None => CodeAddress { file: Arc::clone(&no_file), address: *address },
    };
    let stack = unwound.addresses.iter().map(locate).collect();
    Capture { age_nanos, evidence: unwound.evidence, stack, on_cpu, uninterruptible: false, call }
}

/// Unwinds a stack. The parent of a `vfork` has no return address on its stack:
/// until the call returns, the C library keeps it in the register of the first
/// argument.
fn unwind(stack: &CopiedStack, call: Option<&InSyscall>, unwinder: &mut Unwinder) -> Unwound {
    let is_vfork = |call: &&InSyscall| syscalls::find(call.number).is_some_and(|known| known.name == "vfork");
    let Some(call) = call.filter(is_vfork) else {
        return unwinder.unwind(stack);
    };
    let caller = CopiedStack { ip: call.arguments[0].saturating_sub(1), ..stack.clone() };
    let mut unwound = unwinder.unwind(&caller);
    unwound.addresses.insert(0, stack.ip);
    unwound
}
