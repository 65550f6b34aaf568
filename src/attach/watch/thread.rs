//! One thread of the other process, looked at again and again.
//!
//! Two facts are certain. A thread that waits in the same system call and was
//! not put on a CPU between two looks has waited all the time. And each poll of
//! a task begins with a write to the frame of the function that polls tasks: a
//! thread that has not written there since an earlier look is in no later poll.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::attach::watch::guard_pause::GuardPause;
use crate::attach::watch::observed_poll::{ObservedPoll, PollKey};
use crate::attach::watch::place::{self, LoopKind, Place};
use crate::attach::watch::poll_frame::PollFrame;
use crate::attach::watch::tools::Tools;
use crate::capture::{CopiedStack, passive};
use crate::evidence::Capture;
use crate::finding::{Frame, FrameKind};
use crate::os::ThreadInfo;
use crate::process::Process;
use crate::record::runtimes::WorkerLabel;
use crate::record::worker::Worker;
use crate::self_metrics::CaptureOutcome;
use crate::threads::registers::{SampleRequest, WriteGuard};
use crate::watchdog::procfs::{self, ProcReader};
use crate::watchdog::sample::{InSyscall, ThreadActivity, ThreadSample};
use crate::watchdog::stack_capture;

/// A sample that was not taken for this long is given up: the thread is in the
/// kernel all the time, or has no CPU.
const MAX_REQUEST_AGE: Duration = Duration::from_millis(200);
/// How many places are remembered in which a thread waits for work.
const MAX_IDLE_PLACES: usize = 64;

/// A thread of the other process.
pub(super) struct ObservedThread {
    tid: i32,
    name: String,
    reader: ProcReader,
    /// The record of a thread that runs an event loop.
    worker: Option<Arc<Worker>>,
    /// Where the frame of the function that polls tasks is.
    poll_frame: Option<PollFrame>,
    poll: Option<ObservedPoll>,
    /// Shows whether the poll in progress is still the same.
    guard: Option<PollGuard>,
    guard_pause: GuardPause,
    /// A sample of the thread was asked for.
    request: Option<OpenRequest>,
    last: Option<ThreadSample>,
    last_key: Option<PollKey>,
    /// The calls in which the thread waits for work: number, stack pointer and
    /// program counter. A thread that parks does so at the same depth.
    idle_places: HashMap<(i64, u64, u64), Place>,
}

/// Shows whether the poll with this key is still the same.
struct PollGuard {
    key: PollKey,
    guard: WriteGuard,
}

/// A sample that was asked for.
struct OpenRequest {
    request: SampleRequest,
    since: Instant,
}

/// The stack of a thread, and what it shows.
struct ReadStack {
    capture: Capture,
    frames: Vec<Frame>,
    place: Place,
    loop_kind: Option<LoopKind>,
    poll_frame: Option<PollFrame>,
}

impl ObservedThread {
    pub(super) fn new(process: Process, tid: i32) -> Self {
        Self {
            tid,
            name: procfs::thread_name(process, tid).unwrap_or_default(),
            reader: ProcReader::new(process, tid),
            worker: None,
            poll_frame: None,
            poll: None,
            guard: None,
            guard_pause: GuardPause::default(),
            request: None,
            last: None,
            last_key: None,
            idle_places: HashMap::new(),
        }
    }

    /// Returns whether the thread runs an event loop, as far as is known.
    pub(super) fn is_of_runtime(&self) -> bool {
        self.worker.is_some()
    }

    /// Looks at the thread. Returns `false` once it has ended.
    pub(super) fn look(&mut self, tools: &mut Tools<'_>) -> bool {
        let Some(sample) = self.reader.sample(&tools.recorder.clock) else {
            self.end(tools);
            return false;
        };
        let call = waits_in(&sample);
        let is_idle = call.is_some_and(|call| self.idle_places.contains_key(&place_key(&call)));
        // A stopped process is no poll that blocks.
        let key = if is_idle || sample.is_stopped() { None } else { self.poll_key(&sample, call, tools) };
        // The key was read before, so it is that of a poll that has gone on.
        let is_written = self.guard.as_ref().map(|guard| !guard.guard.is_unwritten());
        match is_written {
            Some(true) => self.guard_pause.begin(),
            Some(false) => self.guard_pause = GuardPause::default(),
            None => {}
        }
        self.guard.take_if(|guard| Some(guard.key) != key || is_written == Some(true));
        let is_over = |poll: &mut ObservedPoll| {
            Some(poll.key) != key || self.guard.is_none() && !poll.is_same_wait(&sample, call)
        };
        if let Some(mut over) = self.poll.take_if(is_over) {
            over.end(self.worker.as_deref(), tools);
            self.request = None;
        }
        self.add_busy_time(&sample, tools);
        self.last = Some(sample);
        let is_seen_again = key.is_some() && key == self.last_key;
        self.last_key = key;
        if key.is_none() && self.poll_frame.is_none() && sample.activity == ThreadActivity::Running {
            self.learn_running(tools);
        }
        let Some(key) = key else { return true };
        match &mut self.poll {
            Some(poll) => poll.add(&sample, call),
            None => self.poll = Some(ObservedPoll::new(key, &sample, call)),
        }
        if is_seen_again && self.guard.is_none() && self.guard_pause.is_over() {
            self.guard_poll(key, tools);
        }
        self.follow_poll(&sample, call, tools);
        true
    }

    /// Begins to note whether another poll begins. The poll counts from now on,
    /// except for a wait that goes on.
    fn guard_poll(&mut self, key: PollKey, tools: &Tools<'_>) {
        let address = self.poll_frame.and_then(PollFrame::written_word);
        let (PollKey::Frame(_), Some(address)) = (key, address) else { return };
        let Some(guard) = WriteGuard::new(tools.process, self.tid, address) else { return };
        let Some(now) = self.reader.sample(&tools.recorder.clock) else { return };
        let call = waits_in(&now);
        if self.poll_key(&now, call, tools) != Some(key) || !guard.is_unwritten() {
            return self.guard_pause.begin();
        }
        self.guard = Some(PollGuard { key, guard });
        match &mut self.poll {
            Some(poll) if poll.is_same_wait(&now, call) => poll.add(&now, call),
            _ => {
                if let Some(mut over) = self.poll.replace(ObservedPoll::new(key, &now, call)) {
                    over.end(self.worker.as_deref(), tools);
                    self.request = None;
                }
            }
        }
    }

    /// Returns what tells the poll in progress from others. Without the frame
    /// of a poll, only a wait tells.
    fn poll_key(&self, sample: &ThreadSample, call: Option<InSyscall>, tools: &Tools<'_>) -> Option<PollKey> {
        let by_frame = self.poll_frame.and_then(|frame| frame.read(tools.process)).map(PollKey::Frame);
        by_frame.or_else(|| call.map(|call| PollKey::Wait { call, slices: sample.times.slices }))
    }

    /// Adds the time since the last look to that of the worker's polls, if the
    /// thread was on a CPU then. That of a stall is added at its end.
    fn add_busy_time(&self, now: &ThreadSample, tools: &Tools<'_>) {
        let has_stall = self.poll.as_ref().is_some_and(ObservedPoll::has_stall);
        let (Some(worker), Some(last), false) = (&self.worker, &self.last, has_stall) else { return };
        let cpu_nanos = now.times.cpu_nanos.saturating_sub(last.times.cpu_nanos);
        worker
            .counters
            .busy_nanos
            .add(cpu_nanos.min(tools.recorder.clock.nanos(last.times.at, now.times.at)));
    }

    /// Does what is due at the age of the poll.
    fn follow_poll(&mut self, sample: &ThreadSample, call: Option<InSyscall>, tools: &mut Tools<'_>) {
        let Some(poll) = &self.poll else { return };
        let is_capture_due = poll.is_capture_due(tools.recorder);
        // What the thread is may be learned from any wait.
        let is_unknown = self.worker.is_none() || self.poll_frame.is_none();
        let is_early = is_unknown && tools.early_reads.take(Instant::now());
        if let Some(call) = call.filter(|_| is_capture_due || is_early) {
            let Some(stack) = self.waiting_stack(sample, &call, tools) else {
                tools.self_metrics.count_capture(CaptureOutcome::Outdated);
                return;
            };
            self.learn(Some(&call), &stack, tools);
            if stack.place != Place::InPoll {
                // What was seen before was no poll either, or it is over.
                if let Some(mut poll) = self.poll.take() {
                    poll.end(self.worker.as_deref(), tools);
                }
                return;
            }
            let Some(worker) = self.worker.as_deref() else { return };
            if let Some(poll) = self.poll.as_mut().filter(|_| is_capture_due) {
                tools.self_metrics.count_capture(CaptureOutcome::Passive);
                poll.add_capture(stack.capture, &task_name(&stack.frames), worker, tools);
            }
        }
        if call.is_none() && is_capture_due && sample.activity == ThreadActivity::Running {
            self.capture_running(tools);
        }
        if let (Some(worker), Some(poll)) = (self.worker.as_deref(), &mut self.poll) {
            poll.report_progress(worker, tools);
        }
    }

    /// Learns from a thread that runs where the frame of the function that
    /// polls tasks is.
    fn learn_running(&mut self, tools: &mut Tools<'_>) {
        if self.request.is_none() && !tools.early_reads.take(Instant::now()) {
            return;
        }
        if let Requested::Stack(copy) = self.requested_stack(tools) {
            let stack = running_stack(&self.name, &copy, tools);
            self.learn(None, &stack, tools);
        }
    }

    /// Captures a thread that computes, if its poll is certainly the same.
    fn capture_running(&mut self, tools: &mut Tools<'_>) {
        if self.worker.is_none() || self.guard.is_none() {
            return;
        }
        let requested = self.requested_stack(tools);
        let Some(poll) = &mut self.poll else { return };
        let copy = match requested {
            Requested::Stack(copy) => copy,
            Requested::Pending => return,
            Requested::Failed => {
                tools.self_metrics.count_capture(CaptureOutcome::Outdated);
                return poll.delay_capture(tools.recorder);
            }
        };
        if !self.guard.as_ref().is_some_and(|guard| guard.guard.is_unwritten()) {
            return tools.self_metrics.count_capture(CaptureOutcome::Outdated);
        }
        let stack = running_stack(&self.name, &copy, tools);
        let Some(worker) = self.worker.as_deref().filter(|_| stack.place == Place::InPoll) else {
            return poll.delay_capture(tools.recorder);
        };
        tools.self_metrics.count_capture(CaptureOutcome::Passive);
        poll.add_capture(stack.capture, &task_name(&stack.frames), worker, tools);
    }

    /// Returns the stack of a sample that was asked for earlier, or asks for
    /// one. No other thread waits for it.
    fn requested_stack(&mut self, tools: &Tools<'_>) -> Requested {
        let Some(open) = self.request.take() else {
            let Some(request) = SampleRequest::new(tools.process, self.tid) else { return Requested::Failed };
            self.request = Some(OpenRequest { request, since: Instant::now() });
            return Requested::Pending;
        };
        match open.request.stack() {
            Some(stack) => Requested::Stack(stack),
            None if open.since.elapsed() > MAX_REQUEST_AGE => Requested::Failed,
            None => {
                self.request = Some(open);
                Requested::Pending
            }
        }
    }

    /// Reads the stack of the waiting thread. Returns `None` if it has run
    /// since the sample.
    fn waiting_stack(
        &self,
        sample: &ThreadSample,
        call: &InSyscall,
        tools: &mut Tools<'_>,
    ) -> Option<ReadStack> {
        let thread = ThreadInfo { tid: self.tid, stack_top: 0, stack_bottom: 0 };
        let stack = passive::copy(tools.process, thread, call.sp, call.pc)?;
        let after = self.reader.sample(&tools.recorder.clock)?;
        if after.activity != ThreadActivity::InSyscall(*call) || after.times.slices != sample.times.slices {
            return None;
        }
        let unwound = stack_capture::unwind_waiting(&stack, call, tools.unwinder);
        let caller_sps = unwound.caller_sps.clone();
        let capture = stack_capture::capture_of_call(unwound, call, tools.unwinder);
        Some(read_stack(&self.name, capture, &caller_sps, sample.activity, tools))
    }

    /// Notes what a stack shows of the thread, which waits in `call` or runs.
    fn learn(&mut self, call: Option<&InSyscall>, stack: &ReadStack, tools: &mut Tools<'_>) {
        if stack.place == Place::InPoll {
            self.poll_frame = stack.poll_frame.or(self.poll_frame);
        } else if let Some(call) = call {
            if self.idle_places.len() >= MAX_IDLE_PLACES {
                self.idle_places.clear();
            }
            self.idle_places.insert(place_key(call), stack.place);
        }
        if let Some(kind) = stack.loop_kind
            && self.worker.is_none()
        {
            self.worker = Some(register(self.tid, &self.name, kind, tools));
        }
    }

    /// Ends the observation.
    pub(super) fn end(&mut self, tools: &Tools<'_>) {
        if let Some(mut poll) = self.poll.take() {
            poll.end(self.worker.as_deref(), tools);
        }
        if let Some(worker) = self.worker.take() {
            tools.recorder.retire(&worker);
        }
    }
}

/// What became of a request for a sample.
enum Requested {
    Stack(CopiedStack),
    /// The thread has not been sampled yet.
    Pending,
    /// The kernel refuses it, or the thread was not sampled for long.
    Failed,
}

/// Reads the copied stack of a thread that computes.
fn running_stack(name: &str, copy: &CopiedStack, tools: &mut Tools<'_>) -> ReadStack {
    let unwound = tools.unwinder.unwind(copy);
    let caller_sps = unwound.caller_sps.clone();
    let capture = stack_capture::capture(0, unwound, true, None, tools.unwinder);
    read_stack(name, capture, &caller_sps, ThreadActivity::Running, tools)
}

/// Reads what the stack of the thread named `name` shows.
fn read_stack(
    name: &str,
    capture: Capture,
    caller_sps: &[u64],
    activity: ThreadActivity,
    tools: &mut Tools<'_>,
) -> ReadStack {
    let mut symbols = tools.symbols.lock();
    let frames = symbols.stack(&capture).frames;
    let (place, loop_kind) = place::place(name, &capture, &frames, activity);
    let is_in_poll = place == Place::InPoll;
    let poll_frame = is_in_poll.then(|| PollFrame::find(&capture, caller_sps, &mut symbols)).flatten();
    ReadStack { capture, frames, place, loop_kind, poll_frame }
}

fn waits_in(sample: &ThreadSample) -> Option<InSyscall> {
    match sample.activity {
        ThreadActivity::InSyscall(call) if sample.is_asleep() => Some(call),
        _ => None,
    }
}

fn place_key(call: &InSyscall) -> (i64, u64, u64) {
    (call.number, call.sp, call.pc)
}

/// Adds a thread that runs an event loop to the record.
fn register(tid: i32, name: &str, kind: LoopKind, tools: &mut Tools<'_>) -> Arc<Worker> {
    *tools.loops_seen += 1;
    let runtime = name.to_owned();
    let worker = match kind {
        LoopKind::Worker => {
            *tools.next_worker += 1;
            (*tools.next_worker - 1).to_string()
        }
        LoopKind::BlockOn => format!("block_on {tid}"),
    };
    let worker = tools.recorder.register(WorkerLabel { runtime, worker }, None, false);
    worker.set_thread(Some(ThreadInfo { tid, stack_top: 0, stack_bottom: 0 }));
    worker
}

/// Returns the name of the future that the thread polls: its outermost function
/// of the application.
fn task_name(stack: &[Frame]) -> String {
    let poll_index = stack.iter().position(|frame| frame.function.contains("tokio::runtime::"));
    let inside = &stack[..poll_index.unwrap_or(stack.len())];
    let is_own = |frame: &&Frame| {
        let function = frame.function.trim_start_matches('<');
        frame.kind == FrameKind::Application && !function.starts_with("loopscope::")
    };
    inside.iter().rev().find(is_own).map_or_else(|| "unknown".to_owned(), |frame| frame.function.clone())
}
