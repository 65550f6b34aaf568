//! One thread of the other process, looked at again and again.
//!
//! A thread that waits in the same system call and was not put on a CPU between
//! two looks has waited all the time: that is certain. What a thread did that
//! has run in between is not known.

use std::collections::HashMap;
use std::sync::Arc;

use crate::attach::watch::place::{self, LoopKind, Place};
use crate::capture::passive;
use crate::capture::unwind::Unwinder;
use crate::diagnose::symbols::Symbols;
use crate::evidence::{Capture, LONG_STALL_NANOS, Message, Phase, StallEvidence, Stretch, TimeSplit};
use crate::finding::{Frame, FrameKind};
use crate::os::ThreadInfo;
use crate::outbox::SendingEnd;
use crate::process::Process;
use crate::record::clock::Ticks;
use crate::record::flight_recorder::PastPoll;
use crate::record::kinds::KindId;
use crate::record::recorder::Recorder;
use crate::record::runtimes::WorkerLabel;
use crate::record::worker::Worker;
use crate::self_metrics::{CaptureOutcome, SelfMetrics};
use crate::watchdog::procfs::{self, ProcReader};
use crate::watchdog::sample::{InSyscall, ThreadActivity, ThreadSample};
use crate::watchdog::stack_capture;

/// A stall in progress is reported at these ages.
const REPORT_NANOS: [u64; 4] =
    [LONG_STALL_NANOS, 60 * LONG_STALL_NANOS, 600 * LONG_STALL_NANOS, 3600 * LONG_STALL_NANOS];
/// How many places are remembered in which a thread waits for work.
const MAX_IDLE_PLACES: usize = 64;

/// What the looks at all threads share.
pub(super) struct Tools<'t> {
    pub(super) process: Process,
    pub(super) recorder: &'t Recorder,
    pub(super) self_metrics: &'t SelfMetrics,
    pub(super) outbox: &'t SendingEnd,
    pub(super) unwinder: &'t mut Unwinder,
    pub(super) symbols: &'t mut Symbols,
    /// The number of the next worker of each kind.
    pub(super) next_worker: &'t mut usize,
}

/// A thread of the other process.
pub(super) struct ObservedThread {
    tid: i32,
    reader: ProcReader,
    /// The record of a thread that runs an event loop.
    worker: Option<Arc<Worker>>,
    wait: Option<Wait>,
    last: Option<ThreadSample>,
    /// The calls in which the thread waits for work: number, stack pointer and
    /// program counter. A thread that parks does so at the same depth.
    idle_places: HashMap<(i64, u64, u64), Place>,
}

/// A wait that was seen at two looks or will be at the next one.
struct Wait {
    call: InSyscall,
    /// How many times the thread had been put on a CPU.
    slices: u64,
    first_seen: Ticks,
    last_seen: Ticks,
    /// `None` before the stack was read.
    place: Option<Place>,
    stall: Option<OpenStall>,
}

/// A wait within a poll that has lasted for the threshold.
struct OpenStall {
    seq: u64,
    kind: KindId,
    capture: Capture,
    reported: usize,
    next_progress_nanos: u64,
}

impl ObservedThread {
    pub(super) fn new(process: Process, tid: i32) -> Self {
        Self {
            tid,
            reader: ProcReader::new(process, tid),
            worker: None,
            wait: None,
            last: None,
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
        let last = self.last.replace(sample);
        let waits_in = match sample.activity {
            ThreadActivity::InSyscall(call) if sample.is_asleep() => Some(call),
            _ => None,
        };
        let is_same = |wait: &Wait| Some(wait.call) == waits_in && wait.slices == sample.times.slices;
        if !self.wait.as_ref().is_some_and(is_same) {
            self.add_busy_time(last.as_ref(), &sample, tools);
            self.end_wait(tools);
            self.wait = waits_in.map(|call| Wait {
                call,
                slices: sample.times.slices,
                first_seen: sample.times.at,
                last_seen: sample.times.at,
                place: self.idle_places.get(&(call.number, call.sp, call.pc)).copied(),
                stall: None,
            });
        }
        if let Some(wait) = &mut self.wait {
            wait.last_seen = sample.times.at;
        }
        self.follow_wait(tools);
        true
    }

    /// Adds the time since the last look to that of the worker's polls, if the
    /// thread was on a CPU then.
    fn add_busy_time(&self, last: Option<&ThreadSample>, now: &ThreadSample, tools: &Tools<'_>) {
        let (Some(worker), Some(last)) = (&self.worker, last) else { return };
        let cpu_nanos = now.times.cpu_nanos.saturating_sub(last.times.cpu_nanos);
        worker.busy_nanos.add(cpu_nanos.min(tools.recorder.clock.nanos(last.times.at, now.times.at)));
    }

    /// Does what is due at the age of the wait.
    fn follow_wait(&mut self, tools: &mut Tools<'_>) {
        let threshold_nanos = tools.recorder.threshold_nanos;
        let Some(wait) = &mut self.wait else { return };
        let age_nanos = tools.recorder.clock.nanos(wait.first_seen, wait.last_seen);
        // A thread of which nothing is known yet is read at once.
        let is_due = age_nanos >= threshold_nanos || self.worker.is_none() && self.idle_places.is_empty();
        if wait.place.is_none() && is_due {
            self.read_place(age_nanos, tools);
        }
        let Some(wait) = &mut self.wait else { return };
        let (Some(worker), Some(stall)) = (&self.worker, &mut wait.stall) else { return };
        worker.set_own_nanos(stall.seq, age_nanos);
        let milestone = REPORT_NANOS.iter().filter(|nanos| age_nanos >= **nanos).count();
        if milestone > stall.reported {
            stall.reported = milestone;
            let message = message(Phase::Lasts, worker, stall, wait.first_seen, age_nanos, tools.recorder);
            tools.outbox.0.send(message, tools.self_metrics);
        } else if age_nanos >= stall.next_progress_nanos {
            let key = (worker.number, stall.seq);
            let times = waited(age_nanos);
            let progress = Message::Progress { key, duration_nanos: age_nanos, times };
            tools.outbox.0.send(progress, tools.self_metrics);
        } else {
            return;
        }
        stall.next_progress_nanos = age_nanos + LONG_STALL_NANOS.min(age_nanos.max(threshold_nanos));
    }

    /// Reads the stack of the waiting thread, and begins a stall if it waits in
    /// a poll for at least the threshold.
    fn read_place(&mut self, age_nanos: u64, tools: &mut Tools<'_>) {
        let Some(wait) = &mut self.wait else { return };
        let Wait { call, slices, first_seen, .. } = *wait;
        let thread = ThreadInfo { tid: self.tid, stack_top: 0, stack_bottom: 0 };
        let stack = passive::copy(tools.process, thread, call.sp, call.pc);
        // The copy is that of the wait only if the thread has not run since.
        let is_unchanged = self.reader.sample(&tools.recorder.clock).is_some_and(|sample| {
            sample.activity == ThreadActivity::InSyscall(call) && sample.times.slices == slices
        });
        let Some(stack) = stack.filter(|_| is_unchanged) else {
            tools.self_metrics.count_capture(CaptureOutcome::Outdated);
            return;
        };
        let mut capture = stack_capture::capture_of_waiting(&stack, &call, tools.unwinder);
        let frames = tools.symbols.stack(&capture).frames;
        let (place, loop_kind) = place::place(&frames);
        wait.place = Some(place);
        if place != Place::InPoll {
            if self.idle_places.len() >= MAX_IDLE_PLACES {
                self.idle_places.clear();
            }
            self.idle_places.insert((call.number, call.sp, call.pc), place);
        }
        if let Some(kind) = loop_kind
            && self.worker.is_none()
        {
            self.worker = Some(register(self.tid, kind, tools));
        }
        let Some(worker) = self.worker.as_ref().filter(|_| place == Place::InPoll) else { return };
        if age_nanos < tools.recorder.threshold_nanos {
            // It is read again at the threshold.
            wait.place = None;
            return;
        }
        tools.self_metrics.count_capture(CaptureOutcome::Passive);
        let kind = tools.recorder.kinds.for_name(&task_name(&frames));
        worker.slot.begin(first_seen, 0, kind);
        let Some(poll) = worker.slot.active() else { return };
        worker.set_own_nanos(poll.seq, age_nanos);
        capture.stretch = Stretch { number: 1, own_nanos: age_nanos };
        let stall = OpenStall {
            seq: poll.seq,
            kind,
            capture,
            reported: 0,
            next_progress_nanos: age_nanos + tools.recorder.threshold_nanos,
        };
        let message = message(Phase::Began, worker, &stall, first_seen, age_nanos, tools.recorder);
        tools.outbox.0.send(message, tools.self_metrics);
        wait.stall = Some(stall);
    }

    /// Ends the wait: the thread has run since.
    fn end_wait(&mut self, tools: &Tools<'_>) {
        let Some(wait) = self.wait.take() else { return };
        let (Some(worker), Some(stall)) = (&self.worker, wait.stall) else { return };
        let age_nanos = tools.recorder.clock.nanos(wait.first_seen, wait.last_seen);
        worker.slot.end();
        worker.busy_nanos.add(age_nanos);
        worker.flight.push(PastPoll { start: wait.first_seen, end: wait.last_seen, kind: stall.kind });
        let message = message(Phase::Ended, worker, &stall, wait.first_seen, age_nanos, tools.recorder);
        tools.outbox.0.send(message, tools.self_metrics);
    }

    /// Ends the observation.
    pub(super) fn end(&mut self, tools: &Tools<'_>) {
        self.end_wait(tools);
        if let Some(worker) = self.worker.take() {
            tools.recorder.retire(&worker);
        }
    }
}

/// Adds a thread that runs an event loop to the record.
fn register(tid: i32, kind: LoopKind, tools: &mut Tools<'_>) -> Arc<Worker> {
    let runtime = procfs::thread_name(tools.process, tid).unwrap_or_default();
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
    let loop_index = stack.iter().position(|frame| frame.function.starts_with("tokio::runtime::task::"));
    let inside = &stack[..loop_index.unwrap_or(stack.len())];
    let outermost = inside.iter().rev().find(|frame| frame.kind == FrameKind::Application);
    outermost.map_or_else(|| "unknown".to_owned(), |frame| frame.function.clone())
}

fn message(
    phase: Phase,
    worker: &Worker,
    stall: &OpenStall,
    first_seen: Ticks,
    age_nanos: u64,
    recorder: &Recorder,
) -> Message {
    // The thread has not run since the capture, so the capture shows this
    // moment too.
    let capture =
        Capture { age_nanos, stretch: Stretch { number: 1, own_nanos: age_nanos }, ..stall.capture.clone() };
    Message::Stall(StallEvidence {
        phase,
        polls: 1,
        key: (worker.number, stall.seq),
        worker: worker.label.worker.clone(),
        tid: worker.tid(),
        runtime: Arc::from(&*worker.label.runtime),
        held_driver: None,
        kind: stall.kind,
        start_nanos: recorder.clock.since_start(first_seen),
        duration_nanos: age_nanos,
        times: waited(age_nanos),
        threshold_nanos: recorder.threshold_nanos,
        captures: vec![capture],
    })
}

/// Returns the times of a thread that has waited all the time.
fn waited(nanos: u64) -> TimeSplit {
    TimeSplit { off_cpu: nanos, ..TimeSplit::default() }
}
