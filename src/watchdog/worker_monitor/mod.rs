//! One worker under watch: from its first long look to the end of its stall.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::evidence::{Capture, Message, Phase, StallEvidence, TimeSplit};
use crate::os::ThreadInfo;
use crate::record::clock::Ticks;
use crate::record::kinds::KindId;
use crate::record::long_events::LongEvent;
use crate::record::recorder::Recorder;
use crate::record::slot::ActivePoll;
use crate::record::worker::Worker;
use crate::self_metrics::{Captured, Dropped, SelfMetrics};
use crate::settings::Signals;
use crate::token_bucket::TokenBucket;
use crate::watchdog::inspector::{CaptureTools, Inspector, Unwinder};
#[cfg(not(tokio_unstable))]
use crate::watchdog::no_progress::NoProgress;
use crate::watchdog::outbox::Outbox;
use crate::watchdog::process_pause::ProcessPauses;
use crate::watchdog::sample::{ThreadActivity, ThreadSample};
use crate::watchdog::task_run::TaskRun;
use crate::watchdog::time_split::TimeSplitter;

const SECOND: u64 = 1_000_000_000;
/// Stalls of these ages are reported before they end, should they ever.
const LASTS_NANOS: [u64; 4] = [SECOND, 60 * SECOND, 600 * SECOND, 3600 * SECOND];
/// The part of a poll's own time for which a thread must have run to be met
/// running and believed.
const LEAST_SHARE: u64 = 4;
/// So many looks in turn may meet a thread that has just woken. More are no chance:
/// it waits for short times, in step with the watchdog.
const WOKEN_LOOKS: u32 = 8;

/// What all workers' watches share.
pub(crate) struct MonitorContext<'c> {
    pub(crate) recorder: &'c Recorder,
    pub(crate) self_metrics: &'c SelfMetrics,
    pub(crate) unwinder: &'c mut Unwinder,
    pub(crate) captures: &'c mut TokenBucket,
    pub(crate) outbox: &'c Outbox,
    pub(crate) signals: Signals,
    pub(crate) pauses: &'c mut ProcessPauses,
}

impl MonitorContext<'_> {
    fn tools(&mut self) -> CaptureTools<'_> {
        CaptureTools { unwinder: self.unwinder, self_metrics: self.self_metrics, signals: self.signals }
    }

    /// The time between two readings, without what was lost to everybody.
    fn passed(&self, start: Ticks, end: Ticks) -> u64 {
        let clock = &self.recorder.clock;
        clock.nanos(start, end).saturating_sub(self.pauses.within(start, end, clock))
    }
}

/// The watch over one worker.
pub(crate) struct WorkerMonitor {
    index: usize,
    worker: Arc<Worker>,
    inspector: Option<Inspector>,
    /// The last sample of a suspect, and of which thread.
    last: Option<(ThreadInfo, ThreadSample)>,
    tracked: Option<TrackedPoll>,
    /// The poll before, whose end may not have been told yet.
    closing: Option<TrackedPoll>,
    #[cfg(not(tokio_unstable))]
    frozen: NoProgress,
    /// The task that is met at look after look.
    run: Option<TaskRun>,
}

/// A poll that was in progress at a look.
struct TrackedPoll {
    poll: ActivePoll,
    time_split: Option<TimeSplitter>,
    /// While it went on, the whole process, or machine, stood still for so long.
    lost_nanos: u64,
    captures: Vec<Capture>,
    /// Whether it has been asked who holds the lock that it waits for.
    holder_sought: bool,
    /// The own time at which the next capture is due; doubles each time.
    next_capture_nanos: u64,
    /// How many looks in turn have met it just woken.
    woken_looks: u32,
    /// How many of [`LASTS_NANOS`] had passed as it was last told.
    told: Option<usize>,
}

impl WorkerMonitor {
    pub(crate) fn new(index: usize, worker: Arc<Worker>) -> Self {
        Self {
            index,
            worker,
            inspector: None,
            last: None,
            tracked: None,
            closing: None,
            run: None,
            #[cfg(not(tokio_unstable))]
            frozen: NoProgress::default(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.worker.slot.is_idle() || (self.is_unhooked() && self.worker.slot.active().is_none())
    }

    /// Whether no hook tells that the thread parks.
    pub(crate) fn is_unhooked(&self) -> bool {
        self.worker.parks.get() == 0
    }

    /// Takes in what has ended, then looks at what goes on.
    pub(crate) fn look(&mut self, context: &mut MonitorContext<'_>) {
        let worker = Arc::clone(&self.worker);
        let events: Vec<_> = worker.events.drain().collect();
        if !events.is_empty() {
            // Everybody may have stood still amid this look.
            context.pauses.measure(0, &context.recorder.clock);
        }
        for event in events {
            self.ended(event, context);
        }
        let active = worker.active();
        #[cfg(not(tokio_unstable))]
        let active = active.map(|poll| self.frozen.poll(poll, &worker, context.recorder));
        self.follow(active.filter(|poll| !context.recorder.has_no_end_event(poll)), context);
        if let (Some(tracked), Some(poll)) = (&mut self.tracked, active)
            && (tracked.poll.seq, tracked.poll.start) == (poll.seq, poll.start)
        {
            // Its future may have given it a name since.
            tracked.poll.kind = poll.kind;
            return self.look_again(context);
        }
        self.dismiss(context);
        let threshold = context.recorder.threshold_nanos;
        self.tracked = active.map(|poll| TrackedPoll::new(poll, threshold));
        // Most are over before that.
        if self.suspect_age(context.recorder).is_some_and(|nanos| nanos >= threshold / 4) {
            self.look_again(context);
        }
    }

    /// Whether a poll of one of a runtime's own workers has passed the threshold.
    pub(crate) fn is_blocked(&self, recorder: &Recorder) -> bool {
        if self.worker.label.worker.parse::<usize>().is_err() {
            return false;
        }
        let age = |poll: ActivePoll| recorder.clock.nanos(poll.start, recorder.clock.ticks());
        self.tracked.is_some()
            && self.worker.active().is_some_and(|poll| age(poll) >= recorder.threshold_nanos)
    }

    /// How long the poll that was met at the last look has lasted, if it does.
    pub(crate) fn suspect_age(&self, recorder: &Recorder) -> Option<u64> {
        let clock = &recorder.clock;
        self.tracked.as_ref().map(|tracked| clock.nanos(tracked.poll.start, clock.ticks()))
    }

    /// Whether the task that was met may be a hog, which is met at every look.
    pub(crate) fn follows_run(&self, recorder: &Recorder) -> bool {
        let age = |start| recorder.clock.nanos(start, recorder.clock.ticks());
        self.run.as_ref().is_some_and(|run| run.is_long(age(run.start()), recorder.threshold_nanos))
    }

    pub(crate) fn runtime(&self) -> &str {
        &self.worker.label.runtime
    }

    /// The lock that a stall waits for, once a stall.
    pub(crate) fn wanted_lock(&mut self) -> Option<u64> {
        let tracked = self.tracked.as_mut().filter(|tracked| !tracked.holder_sought)?;
        let lock = tracked.captures.iter().find_map(|capture| capture.call.as_ref()?.lock)?;
        tracked.holder_sought = true;
        Some(lock)
    }

    /// Whether a poll here, in progress, seems to hold a lock.
    pub(crate) fn seems_to_hold(&mut self, lock: u64) -> bool {
        let is_polling = self.worker.active().is_some();
        is_polling && inspector(&mut self.inspector, &self.worker).is_some_and(|it| it.seems_to_hold(lock))
    }

    /// Another worker seems to hold the lock that is waited for here.
    pub(crate) fn set_holder(&mut self, lock: u64, holder: usize) {
        let Some(tracked) = &mut self.tracked else { return };
        // It is told again, as long as the holder is still at it.
        tracked.told = None;
        let captures = tracked.captures.iter_mut();
        for call in
            captures.filter_map(|capture| capture.call.as_mut()).filter(|call| call.lock == Some(lock))
        {
            call.holder = Some(holder);
        }
    }

    /// The poll on suspicion is over. If it was long, an event will say so.
    fn dismiss(&mut self, context: &mut MonitorContext<'_>) {
        let Some(mut tracked) = self.tracked.take() else { return };
        if let Some(inspector) = &mut self.inspector {
            tracked.captures.extend(inspector.late_answer(&mut context.tools()));
            let unanswered = inspector.forget();
            if tracked.captures.is_empty()
                && let Some(unanswered) = unanswered
            {
                context.self_metrics.captured(Captured::Nothing);
                tracked.captures.push(unanswered);
            }
        }
        let has_no_end_event = context.recorder.has_no_end_event(&tracked.poll);
        if tracked.time_split.is_some() {
            let ActivePoll { seq, start, kind, .. } = tracked.poll;
            self.closing = Some(tracked);
            if has_no_end_event {
                self.poll_ended(seq, kind, start..context.recorder.clock.ticks(), context);
            }
        }
    }

    fn look_again(&mut self, context: &mut MonitorContext<'_>) {
        let recorder = context.recorder;
        let clock = &recorder.clock;
        let Some(inspector) = inspector(&mut self.inspector, &self.worker) else { return };
        let (Some(tracked), Some(sample)) = (&mut self.tracked, inspector.sample(clock)) else { return };
        context.pauses.measure(0, clock);
        tracked.lost_nanos = context.pauses.within(tracked.poll.start, sample.at, clock);
        let age = clock.nanos(tracked.poll.start, sample.at);
        let thread = inspector.thread();
        let before = self.last.replace((thread, sample)).filter(|(of, _)| *of == thread);
        let Some(time_split) = &mut tracked.time_split else {
            let before = before.map(|(_, sample)| sample);
            tracked.time_split =
                Some(TimeSplitter::begin(sample, before, age.saturating_sub(tracked.lost_nanos)));
            return;
        };
        time_split.add(sample, context.passed(time_split.at(), sample.at));
        tracked.captures.extend(inspector.late_answer(&mut context.tools()));
        let times = tracked.times(age);
        let own = times.own();
        tracked.woken_looks = if has_just_woken(&sample, times) { tracked.woken_looks + 1 } else { 0 };
        if own >= tracked.next_capture_nanos && !(1..=WOKEN_LOOKS).contains(&tracked.woken_looks) {
            while tracked.next_capture_nanos <= own {
                tracked.next_capture_nanos *= 2;
            }
            // A second look at one stall must not cost another its first.
            let granted = if tracked.captures.is_empty() {
                context.captures.take(Instant::now())
            } else {
                context.captures.take_spare(Instant::now())
            };
            let seq = tracked.poll.seq;
            if granted {
                tracked.captures.extend(inspector.capture(seq, age, &sample, &mut context.tools()));
            } else if tracked.captures.is_empty() {
                context.self_metrics.dropped(Dropped::CaptureBudget, 1);
                // Without its stack it still counts, as what it is known to be.
                tracked.captures.push(inspector.classify(age, &sample));
            }
        }
        self.tell_of_progress(own, age, context);
    }

    fn tell_of_progress(&mut self, own: u64, age: u64, context: &MonitorContext<'_>) {
        let milestone = LASTS_NANOS.iter().filter(|nanos| own >= **nanos).count();
        let phase = if milestone > 0 { Phase::Lasts } else { Phase::Began };
        let untold =
            |tracked: &mut TrackedPoll| !tracked.captures.is_empty() && tracked.told != Some(milestone);
        if let Some(mut tracked) = self.tracked.take_if(untold) {
            tracked.told = Some(milestone);
            self.tell(&tracked, phase, age, context);
            self.tracked = Some(tracked);
        }
    }

    /// Follows a task from poll to poll.
    fn follow(&mut self, active: Option<ActivePoll>, context: &mut MonitorContext<'_>) {
        let threshold = context.recorder.threshold_nanos;
        let clock = &context.recorder.clock;
        // A poll that is a stall of its own is no part of a run.
        if self.tracked.as_ref().is_some_and(|tracked| !tracked.captures.is_empty()) {
            return self.run_ended(context);
        }
        let Some(run) = &mut self.run else {
            self.run = active.map(|poll| TaskRun::new(poll, threshold));
            return;
        };
        if !run.goes_on(active) {
            self.run_ended(context);
            self.run = active.map(|poll| TaskRun::new(poll, threshold));
            return;
        }
        if !run.is_watched(clock.nanos(run.start(), clock.ticks()), threshold) {
            return;
        }
        run.others_waited = run.others_waited || context.recorder.has_ready_tasks_for(&self.worker);
        let Some(inspector) = inspector(&mut self.inspector, &self.worker) else { return };
        let Some(sample) = inspector.sample(clock) else { return };
        context.pauses.measure(0, clock);
        let age = context.passed(run.start(), sample.at);
        let time_split = run.time_split.get_or_insert_with(|| TimeSplitter::new(sample));
        time_split.add(sample, context.passed(time_split.at(), sample.at));
        let own = time_split.times().scaled_to(age).own();
        if !inspector.is_asking()
            && run.is_due(age, own, threshold)
            && context.captures.take_spare(Instant::now())
            && let Some(poll) = active
        {
            let capture = inspector.capture(poll.seq, age, &sample, &mut context.tools());
            if let Some(capture) = capture.filter(|capture| !capture.stack.is_empty()) {
                run.keep(capture, own);
            }
            // A later answer would count as one about this poll alone.
            inspector.forget();
        }
    }

    fn run_ended(&mut self, context: &MonitorContext<'_>) {
        let Some(run) = self.run.take().filter(|run| !run.captures.is_empty()) else { return };
        let clock = &context.recorder.clock;
        let (first, now) = (run.first(), clock.ticks());
        let (duration_nanos, passed) = (clock.nanos(run.start(), now), context.passed(run.start(), now));
        let evidence = StallEvidence {
            phase: Phase::Ended,
            polls: run.polls(),
            // Polls have odd numbers.
            key: (self.index, first.seq + 1),
            worker: self.worker.label.to_string(),
            kind: first.kind,
            start_unix_ns: clock.unix_nanos(first.start),
            start_nanos: clock.since_start(first.start),
            duration_nanos,
            times: run.time_split.map(|time_split| time_split.times().scaled_to(passed)).unwrap_or_default(),
            captures: run.captures,
        };
        context.outbox.send(Message::Stall(evidence), context.self_metrics);
    }

    fn ended(&mut self, event: LongEvent, context: &mut MonitorContext<'_>) {
        let clock = &context.recorder.clock;
        match event {
            LongEvent::Wait { nanos, end, task } => {
                if let Some(run) = &mut self.run {
                    run.others_waited = true;
                }
                let end_nanos = clock.since_start(end);
                let start_nanos = end_nanos.saturating_sub(nanos);
                context.outbox.send(Message::Wait { start_nanos, end_nanos, task }, context.self_metrics);
            }
            LongEvent::Poll { seq, start, end, kind, .. } => {
                self.poll_ended(seq, kind, start..end, context);
            }
        }
    }

    /// `kind` is what the poll was in the end.
    fn poll_ended(&mut self, seq: u64, kind: KindId, time: Range<Ticks>, context: &mut MonitorContext<'_>) {
        if self.tracked.as_ref().is_some_and(|tracked| tracked.poll.seq == seq) {
            self.dismiss(context);
        }
        let clock = &context.recorder.clock;
        let duration = clock.nanos(time.start, time.end);
        let lost = context.pauses.within(time.start, time.end, clock);
        let Some(mut tracked) = self.closing.take_if(|tracked| tracked.poll.seq == seq) else {
            if duration.saturating_sub(lost) < context.recorder.threshold_nanos {
                return context.self_metrics.starved(lost, true);
            }
            return context.self_metrics.dropped(Dropped::EndedBeforeCapture, 1);
        };
        tracked.lost_nanos = lost;
        tracked.poll.kind = kind;
        let is_own = tracked.own_nanos(duration) >= context.recorder.threshold_nanos;
        let machines = tracked.times(duration).run_queue + tracked.lost_nanos;
        context.self_metrics.starved(machines, !is_own);
        if is_own && tracked.captures.is_empty() {
            context.self_metrics.dropped(Dropped::EndedBeforeCapture, 1);
        } else if is_own {
            self.tell(&tracked, Phase::Ended, duration, context);
        } else if tracked.told.is_some() {
            context.outbox.send(Message::NoStall((self.index, seq)), context.self_metrics);
        }
    }

    fn tell(&self, tracked: &TrackedPoll, phase: Phase, duration_nanos: u64, context: &MonitorContext<'_>) {
        let mut captures = tracked.captures.clone();
        // An answer may have come late.
        captures.sort_by_key(|capture| capture.at_nanos);
        let evidence = StallEvidence {
            phase,
            polls: 1,
            key: (self.index, tracked.poll.seq),
            worker: self.worker.label.to_string(),
            kind: tracked.poll.kind,
            start_unix_ns: context.recorder.clock.unix_nanos(tracked.poll.start),
            start_nanos: context.recorder.clock.since_start(tracked.poll.start),
            duration_nanos,
            times: tracked.times(duration_nanos),
            captures,
        };
        context.outbox.send(Message::Stall(evidence), context.self_metrics);
    }
}

/// The inspector of the worker's present thread.
fn inspector<'i>(held: &'i mut Option<Inspector>, worker: &Worker) -> Option<&'i mut Inspector> {
    let thread = worker.thread()?;
    if held.as_ref().is_none_or(|inspector| inspector.thread() != thread) {
        *held = Some(Inspector::new(thread, worker.slot));
    }
    held.as_mut()
}

/// Whether a thread runs that has waited for most of the time: what it does now
/// is not what took so long. The next look tells, if there is one.
fn has_just_woken(sample: &ThreadSample, times: TimeSplit) -> bool {
    sample.activity == ThreadActivity::Running && times.on_cpu < times.own() / LEAST_SHARE
}

impl TrackedPoll {
    fn new(poll: ActivePoll, threshold_nanos: u64) -> Self {
        Self {
            poll,
            time_split: None,
            lost_nanos: 0,
            captures: Vec::new(),
            holder_sought: false,
            next_capture_nanos: threshold_nanos,
            woken_looks: 0,
            told: None,
        }
    }

    /// Where the time of the poll went. What is not certain of its first few
    /// milliseconds, before the first look, is split like the rest.
    fn times(&self, duration_nanos: u64) -> TimeSplit {
        let times = self.time_split.as_ref().map(TimeSplitter::times).unwrap_or_default();
        times.scaled_to(duration_nanos.saturating_sub(self.lost_nanos))
    }

    /// The part of the poll's time for which the code, not the machine, is to
    /// blame.
    fn own_nanos(&self, duration_nanos: u64) -> u64 {
        self.times(duration_nanos).own()
    }
}

#[cfg(all(test, stack_capture))]
mod tests;
