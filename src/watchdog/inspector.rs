//! Looks at one worker's thread: its accounts, and its stack by whichever way
//! disturbs it least.

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::thread;
use std::time::{Duration, Instant};

use crate::capture::descriptor::{Descriptor, Transport};
use crate::capture::signal::{Answer, Asker};
use crate::capture::unwind::Unwound;
use crate::capture::{CopiedStack, machine, passive};
use crate::evidence::{CallInfo, Capture, CodeAddress};
use crate::finding::Evidence;
use crate::os::{self, ThreadInfo};
use crate::record::clock::Clock;
use crate::record::slot::Slot;
use crate::self_metrics::{Captured, SelfMetrics};
use crate::settings::Signals;
use crate::watchdog::procfs::ProcReader;
use crate::watchdog::sample::{InSyscall, ThreadActivity, ThreadSample};
use crate::watchdog::syscalls::{self, Fd, Restart, Syscall};

pub(crate) use crate::capture::unwind::Unwinder;

/// How long a running thread may take to answer before the watchdog turns to
/// other workers. A thread on a CPU answers within some 30 µs.
const PATIENCE: Duration = Duration::from_micros(500);

/// Looks at one thread.
pub(crate) struct Inspector {
    thread: ThreadInfo,
    slot: &'static Slot,
    probe: ProcReader,
    asker: Option<Asker>,
    open: Option<Question>,
}

/// A signal that has not been answered yet.
struct Question {
    at_nanos: u64,
    /// The thread ran, or was about to.
    runs: bool,
    uninterruptible: bool,
    call: Option<(InSyscall, CallInfo)>,
}

/// What a look needs besides the thread.
pub(crate) struct CaptureTools<'t> {
    pub(crate) unwinder: &'t mut Unwinder,
    pub(crate) self_metrics: &'t SelfMetrics,
    pub(crate) signals: Signals,
}

impl Inspector {
    pub(crate) fn new(thread: ThreadInfo, slot: &'static Slot) -> Self {
        Self { thread, slot, probe: ProcReader::new(thread.tid), asker: None, open: None }
    }

    pub(crate) fn thread(&self) -> ThreadInfo {
        self.thread
    }

    pub(crate) fn sample(&self, clock: &Clock) -> Option<ThreadSample> {
        self.probe.sample(clock)
    }

    /// Looks at the poll `seq`, which is `at_nanos` old. `None` if it ended
    /// meanwhile, or while the answer is still to come: see [`Self::late_answer`].
    pub(crate) fn capture(
        &mut self,
        seq: u64,
        at_nanos: u64,
        now: &ThreadSample,
        tools: &mut CaptureTools<'_>,
    ) -> Option<Capture> {
        match now.activity {
            ThreadActivity::InSyscall(call) => self.capture_waiting(seq, at_nanos, call, now.state, tools),
            ThreadActivity::Running | ThreadActivity::Unknown => {
                // Outside of a call and in state D: a page that comes from disk.
                let runs = now.activity == ThreadActivity::Running;
                let question = Question { at_nanos, runs, uninterruptible: now.state == b'D', call: None };
                if tools.signals != Signals::Never && self.ask(seq, question) {
                    return self.await_answer(tools);
                }
                tools.self_metrics.captured(Captured::Nothing);
                Some(Capture::without_stack(at_nanos, runs, None))
            }
        }
    }

    /// Whether the thread waits for something else than this lock, and has its
    /// address on the stack: as who holds a guard of std's has.
    pub(crate) fn seems_to_hold(&self, lock: u64) -> bool {
        let ThreadActivity::InSyscall(call) = self.probe.activity() else { return false };
        let is_waiter = call.number == libc::SYS_futex && call.arguments[0] == lock;
        let stack = || passive::copy(self.thread, call.sp, call.pc);
        !is_waiter
            && stack().is_some_and(|stack| stack.bytes.chunks_exact(8).any(|word| word == lock.to_ne_bytes()))
    }

    /// Whether a question is still open.
    pub(crate) fn is_asking(&self) -> bool {
        self.open.is_some()
    }

    /// What a sample alone says of a stall: no stack.
    pub(crate) fn classify(&self, at_nanos: u64, now: &ThreadSample) -> Capture {
        let call = match now.activity {
            ThreadActivity::InSyscall(call) => Some(call_info(&call, syscalls::find(call.number))),
            ThreadActivity::Running | ThreadActivity::Unknown => None,
        };
        Capture::without_stack(at_nanos, now.activity == ThreadActivity::Running, call)
    }

    fn capture_waiting(
        &mut self,
        seq: u64,
        at_nanos: u64,
        call: InSyscall,
        state: u8,
        tools: &mut CaptureTools<'_>,
    ) -> Option<Capture> {
        let known = syscalls::find(call.number);
        let Some(stack) = self.copy_passively(seq, call) else {
            // It went on while we looked; if the poll goes on, so do we.
            tools.self_metrics.captured(Captured::Late);
            return None;
        };
        let info = call_info(&call, known);
        let unwound = unwind(&stack, Some(&call), tools.unwinder);
        if unwound.evidence == Evidence::Leaf {
            let uninterruptible = state == b'D';
            let may_ask = match tools.signals {
                Signals::Never => false,
                // Delivered as the call returns, if it does not first come to wait
                // for something else, interruptibly.
                Signals::Safe if uninterruptible => {
                    known.is_some_and(|syscall| syscall.restart != Restart::Never)
                }
                Signals::Safe => self.restarts(call, known, &unwound, tools),
                Signals::Always => true,
            };
            let call = Some((call, info.clone()));
            let asked = may_ask && self.ask(seq, Question { at_nanos, runs: false, uninterruptible, call });
            if asked && !uninterruptible {
                return self.await_answer(tools);
            }
        }
        tools.self_metrics.captured(Captured::Passive);
        let unwound =
            if unwound.evidence == Evidence::Leaf { tools.unwinder.reconstruct(&stack) } else { unwound };
        let capture = capture(at_nanos, unwound, false, Some(info), tools.unwinder);
        Some(Capture { uninterruptible: state == b'D', ..capture })
    }

    /// A copy that holds only if the thread was in the same call, in the same
    /// poll, before and after.
    fn copy_passively(&self, seq: u64, call: InSyscall) -> Option<CopiedStack> {
        let stack = passive::copy(self.thread, call.sp, call.pc)?;
        let unchanged = self.probe.activity() == ThreadActivity::InSyscall(call) && self.is_in(seq);
        unchanged.then_some(stack)
    }

    /// Whether a signal now would go unnoticed by the program.
    fn restarts(
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
            // std takes up the rest of its sleep by itself.
            Some(Restart::Never) | None => {
                let sleeps = known.is_some_and(|syscall| syscall.name == "clock_nanosleep");
                let caller = leaf.addresses.get(1).filter(|_| sleeps);
                caller.is_some_and(|address| {
                    tools.unwinder.is_within(*address, thread::sleep as *const () as u64)
                })
            }
        }
    }

    fn ask(&mut self, seq: u64, question: Question) -> bool {
        if self.asker.is_none() {
            self.asker = Asker::new();
        }
        let Some(asker) = &self.asker else { return false };
        if self.open.is_none() {
            // A handler that was writing as its question was taken back is done by now.
            asker.cancel();
        }
        let asked = asker.ask(self.thread, self.slot.seq(), seq);
        if asked {
            self.open = Some(question);
        }
        asked
    }

    fn await_answer(&mut self, tools: &mut CaptureTools<'_>) -> Option<Capture> {
        let until = Instant::now() + PATIENCE;
        loop {
            let capture = self.late_answer(tools);
            if capture.is_some() || self.open.is_none() || Instant::now() >= until {
                return capture;
            }
            thread::sleep(Duration::from_micros(20));
        }
    }

    /// The answer to a signal that was still on its way.
    pub(crate) fn late_answer(&mut self, tools: &mut CaptureTools<'_>) -> Option<Capture> {
        self.open.as_ref()?;
        match self.asker.as_ref()?.answer() {
            Answer::Pending => None,
            Answer::Late => {
                tools.self_metrics.captured(Captured::Late);
                self.open = None;
                None
            }
            Answer::Copied(stack) => {
                tools.self_metrics.captured(Captured::Signal);
                let Question { at_nanos, uninterruptible, call, .. } = self.open.take()?;
                let runs = call.is_none();
                let in_kernel = !runs || machine::follows_syscall(stack.ip);
                let call = call.or_else(|| {
                    let call = syscall_before(&stack).filter(|_| in_kernel)?;
                    Some((call, call_info(&call, syscalls::find(call.number))))
                });
                let unwound = unwind(&stack, call.as_ref().map(|(call, _)| call), tools.unwinder);
                let info = call.map(|(_, info)| info);
                // Giving back memory is work, if the kernel's; a call on a file is
                // a call on a file.
                let works =
                    runs && info.as_ref().is_none_or(|call| call.cause == crate::finding::Cause::Other);
                let on_cpu = !uninterruptible && (!in_kernel || works);
                Some(Capture { uninterruptible, ..capture(at_nanos, unwound, on_cpu, info, tools.unwinder) })
            }
        }
    }

    /// Gives up on a signal that is still on its way, as to a thread that blocks
    /// signals, and says what is known of the poll without an answer.
    pub(crate) fn forget(&mut self) -> Option<Capture> {
        let Question { at_nanos, runs, uninterruptible, call } = self.open.take()?;
        self.asker.as_ref()?.cancel();
        Some(Capture::without_stack(at_nanos, runs && !uninterruptible, call.map(|(_, info)| info)))
    }

    fn is_in(&self, seq: u64) -> bool {
        self.slot.seq().load(Acquire) == seq
    }
}

fn capture(
    at_nanos: u64,
    unwound: Unwound,
    on_cpu: bool,
    call: Option<CallInfo>,
    unwinder: &Unwinder,
) -> Capture {
    let locate = |address: &u64| match unwinder.module_of(*address) {
        Some(module) => {
            CodeAddress { module: Arc::from(&*module.path), address: address.wrapping_sub(module.bias) }
        }
        None => CodeAddress { module: Arc::from(""), address: *address },
    };
    let stack = unwound.addresses.iter().map(locate).collect();
    Capture { at_nanos, evidence: unwound.evidence, stack, on_cpu, uninterruptible: false, call }
}

/// The parent of a `vfork` has no return address on its stack: the C library
/// keeps it in the register of the first argument meanwhile.
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

/// What the arguments of a call say. Of a call that a signal has interrupted
/// only the first is known.
fn call_info(call: &InSyscall, known: Option<&Syscall>) -> CallInfo {
    let Some(syscall) = known else {
        return CallInfo {
            name: format!("system call {}", call.number),
            cause: crate::finding::Cause::Other,
            fd: None,
            fd_type: None,
            lock: None,
            holder: None,
        };
    };
    let fd = match syscall.descriptor {
        Fd::None => None,
        Fd::Argument => Some(call.arguments[0] as i32),
        // The first of several is as good as any.
        Fd::Polled => os::read_memory(call.arguments[0] as usize, 4)
            .and_then(|bytes| Some(i32::from_ne_bytes(bytes.try_into().ok()?))),
    };
    let descriptor = fd.and_then(Descriptor::of);
    CallInfo {
        name: syscall.name.to_owned(),
        cause: cause_of(syscall, descriptor.as_ref()),
        fd: descriptor.as_ref().map(ToString::to_string),
        fd_type: descriptor.as_ref().and_then(type_of),
        lock: (syscall.name == "futex").then_some(call.arguments[0]),
        holder: None,
    }
}

/// `read`, `write` and `poll` mean what their descriptor is.
fn cause_of(syscall: &Syscall, descriptor: Option<&Descriptor>) -> crate::finding::Cause {
    match (syscall.cause, descriptor) {
        (crate::finding::Cause::Other, Some(Descriptor::Socket { .. })) => crate::finding::Cause::Network,
        (crate::finding::Cause::Other, Some(Descriptor::Path(_) | Descriptor::Pipe)) => {
            crate::finding::Cause::File
        }
        (cause, _) => cause,
    }
}

fn type_of(descriptor: &Descriptor) -> Option<&'static str> {
    Some(match descriptor {
        Descriptor::Path(_) => "std::fs::File",
        Descriptor::Pipe => "std::io::pipe::Pipe",
        Descriptor::Socket { transport: Transport::Tcp, .. } => "std::net::tcp::Tcp",
        Descriptor::Socket { transport: Transport::Udp, .. } => "std::net::udp::Udp",
        Descriptor::Socket { transport: Transport::UnixStream, .. } => "std::os::unix::net::stream::",
        Descriptor::Socket { transport: Transport::UnixDatagram, .. } => "std::os::unix::net::datagram::",
        Descriptor::Socket { .. } | Descriptor::Other(_) => return None,
    })
}

/// The call that a signal has interrupted, by the code before it; the register
/// of its first argument outlives it.
fn syscall_before(stack: &CopiedStack) -> Option<InSyscall> {
    let first = stack.registers?.first_argument;
    let number = machine::syscall_number(stack.ip)?;
    Some(InSyscall { number, arguments: [first, 0, 0, 0, 0, 0], sp: stack.sp, pc: stack.ip })
}
