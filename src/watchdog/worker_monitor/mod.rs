//! Monitors one worker: tracks its poll in progress, and reports stalls.

mod context;
pub(crate) mod driver;
pub(crate) mod driver_check;
mod end;
mod follow_run;
mod left_runtime;
#[cfg(stack_capture)]
mod lock_holder;
mod readings;
mod stretch;
mod tracked_poll;
mod unsettled;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::evidence::{Capture, LONG_STALL_NANOS, Message, Phase, StallEvidence, TaskWait, TimeSplit};
use crate::os::ThreadInfo;
use crate::record::clock::Ticks;
use crate::record::long_events::LongEvent;
use crate::record::slot::ActivePoll;
use crate::record::worker::Worker;
use crate::self_metrics::{CaptureOutcome, DropReason};
use crate::watchdog::inspector::Inspector;
#[cfg(not(tokio_unstable))]
use crate::watchdog::no_progress::NoProgress;
use crate::watchdog::process_clock::ProcessClock;
use crate::watchdog::sample::{ThreadSample, ThreadTimes};
use crate::watchdog::task_run::TaskRun;
use crate::watchdog::time_split::TimeSplitter;
pub(crate) use crate::watchdog::worker_monitor::context::MonitorContext;
use crate::watchdog::worker_monitor::left_runtime::QuietTime;
use crate::watchdog::worker_monitor::readings::Readings;
use crate::watchdog::worker_monitor::tracked_poll::{TrackedPoll, has_just_woken};
use crate::watchdog::worker_monitor::unsettled::LatestPoll;

const SECOND: u64 = 1_000_000_000;
/// A stall is reported again at each of these own times, before its end.
const ONGOING_REPORT_NANOS: [u64; 4] = [LONG_STALL_NANOS, 60 * SECOND, 600 * SECOND, 3600 * SECOND];

/// The monitor of one worker.
pub(crate) struct WorkerMonitor {
    index: usize,
    worker: Arc<Worker>,
    /// The label of the worker's runtime.
    runtime: Arc<str>,
    inspector: Option<Inspector>,
    /// The last sample of a tracked poll, with its thread.
    last_sample: Option<(ThreadInfo, ThreadSample)>,
    readings: Readings,
    /// The slot's number at the latest reading between two polls.
    seq_at_reading: u64,
    /// The slot's number and how often the worker had unparked at the start of
    /// the latest pass, and whether one of them had changed since the pass
    /// before.
    progress: (u64, u64),
    has_polled: bool,
    tracked: Option<TrackedPoll>,
    /// The previous tracked poll, whose end event may not have arrived yet.
    finished: Option<TrackedPoll>,
    #[cfg(not(tokio_unstable))]
    no_progress: NoProgress,
    /// The task that every recent pass found here.
    run: Option<TaskRun>,
    quiet_time: QuietTime,
    latest: LatestPoll,
}

impl WorkerMonitor {
    pub(crate) fn new(index: usize, worker: Arc<Worker>, threshold_nanos: u64) -> Self {
        Self {
            index,
            runtime: Arc::from(worker.label.runtime.as_str()),
            worker,
            inspector: None,
            last_sample: None,
            readings: Readings::new(threshold_nanos),
            seq_at_reading: 0,
            progress: (0, 0),
            has_polled: true,
            tracked: None,
            finished: None,
            run: None,
            quiet_time: QuietTime::default(),
            latest: LatestPoll::default(),
            #[cfg(not(tokio_unstable))]
            no_progress: NoProgress::default(),
        }
    }

    /// Returns whether the thread polls nothing and has not begun a poll since
    /// the start of the latest pass.
    pub(crate) fn is_at_rest(&self) -> bool {
        let polls_nothing = || !self.is_polling() && !self.quiet_time.is_undecided();
        (self.is_parked() || polls_nothing())
            && !self.worker.has_ended()
            && self.progress == self.worker.progress()
            // A thread pushes an event after the end of its poll.
            && self.worker.events.is_empty()
    }

    /// Returns whether the thread has polled or unparked between the starts of
    /// the latest two passes.
    pub(crate) fn has_polled(&self) -> bool {
        self.has_polled
    }

    /// Returns whether the thread has used little CPU time since the pass
    /// before.
    pub(crate) fn is_calm(&self) -> bool {
        self.readings.is_calm()
    }

    fn is_polling(&self) -> bool {
        self.worker.slot.is_polling()
    }

    /// Returns whether a recorded poll occupies the worker, or has begun or
    /// ended since the start of the latest pass.
    pub(crate) fn has_news(&self) -> bool {
        (self.is_polling() && self.worker.taken_over_at().is_none())
            || self.progress.0 != self.worker.progress().0
            || !self.worker.events.is_empty()
    }

    /// Returns whether the park hook says that the thread is parked. A thread
    /// without this hook never is, and a thread that has left `block_on` is no
    /// longer.
    pub(crate) fn is_parked(&self) -> bool {
        self.worker.slot.is_idle()
    }

    /// Handles the events since the last pass, then samples the poll in
    /// progress.
    pub(crate) fn sample(&mut self, context: &mut MonitorContext<'_>) {
        let progress = self.worker.progress();
        self.has_polled = std::mem::replace(&mut self.progress, progress) != progress;
        if self.is_quiet() {
            self.quiet_time.update(&self.worker, false, context.recorder);
        } else {
            self.sample_worker(context);
        }
        self.read_times_if_due(context);
        let unreported = self.tracked.as_ref().filter(|tracked| tracked.reported_milestone.is_none());
        self.latest.update(&self.worker, unreported.map(|tracked| tracked.poll), context);
    }

    /// Returns whether no poll is in progress, and nothing of an earlier one is
    /// left to be handled.
    fn is_quiet(&self) -> bool {
        let is_reported = |poll: &TrackedPoll| poll.reported_milestone.is_some();
        !self.is_polling()
            && self.tracked.is_none()
            && self.run.is_none()
            && !self.finished.as_ref().is_some_and(is_reported)
            && self.worker.events.is_empty()
    }

    fn sample_worker(&mut self, context: &mut MonitorContext<'_>) {
        let worker = Arc::clone(&self.worker);
        let events: Vec<_> = worker.events.drain().collect();
        if !events.is_empty() {
            let has_polls = events.iter().any(|event| matches!(event, LongEvent::Poll { .. }));
            let after = if has_polls { self.read_times(context) } else { None };
            // The watchdog may have been delayed in the middle of this pass.
            context.process_clock.measure_pass();
            for event in events {
                self.handle_event(event, after, context);
            }
        }
        self.end_without_event(context);
        worker.events.set_handled();
        let active = context.recorder.find_active(&worker);
        self.quiet_time.update(&worker, active.is_some(), context.recorder);
        #[cfg(not(tokio_unstable))]
        let active = active.map(|poll| self.no_progress.since_last_progress(poll, &worker, context.recorder));
        self.follow_run(active.filter(|poll| !context.recorder.has_no_end_event(poll)), context);
        if let (Some(tracked), Some(poll)) = (&mut self.tracked, active)
            && (tracked.poll.seq, tracked.poll.start) == (poll.seq, poll.start)
        {
            // The task's future may have given its name since the last pass.
            tracked.poll.kind = poll.kind;
            return self.sample_tracked_poll(context);
        }
        self.finish_tracking(context);
        if let Some(poll) = active.filter(|poll| context.recorder.has_no_end_event(poll)) {
            // The worker has made progress, but the number is the same.
            worker.set_own_nanos(poll.seq, 0);
        }
        let threshold = context.recorder.threshold_nanos;
        self.tracked = active.map(|poll| self.tracked_poll(poll, context.process_clock, threshold));
        // Most polls end before this age.
        if self.tracked_poll_age_nanos(context.process_clock).is_some_and(|nanos| nanos >= threshold / 4) {
            self.sample_tracked_poll(context);
        }
    }

    fn tracked_poll(&self, poll: ActivePoll, clock: &ProcessClock, threshold_nanos: u64) -> TrackedPoll {
        let lost_polls = self.worker.events.lost_polls();
        TrackedPoll::new(poll, self.splitter_from(poll.start, clock), lost_polls, threshold_nanos)
    }

    /// Returns a splitter for a poll that has begun at `start`.
    fn splitter_from(&self, start: Ticks, clock: &ProcessClock) -> TimeSplitter {
        let readings = self.readings.of(self.worker.thread());
        let mut splitter = match readings.clone().find(|times| times.at <= start) {
            Some(times) => TimeSplitter::new(*times, clock.wall(times.at, start)),
            // The CPU times at the thread's start are known: zero.
            None => TimeSplitter::new(ThreadTimes::default(), u64::MAX),
        };
        if let Some(times) = readings.rev().find(|times| times.at > start) {
            splitter.narrow(times, clock.wall(start, times.at));
        }
        splitter
    }

    /// Reads the CPU times of the thread if it has been active since the last
    /// reading: the next poll may be long, and may be sampled late.
    fn read_times_if_due(&mut self, context: &MonitorContext<'_>) {
        if !context.is_reading_due() {
            return;
        }
        let seq = self.worker.slot.seq().load(Relaxed);
        if std::mem::replace(&mut self.seq_at_reading, seq) == seq {
            return self.readings.note_rest();
        }
        let Some(inspector) = current_inspector(&mut self.inspector, &self.worker) else { return };
        let times = self.readings.read(inspector, &context.recorder.clock);
        if let (Some(tracked), Some(times)) = (&mut self.tracked, times) {
            let age = context.process_clock.wall(tracked.poll.start, times.at);
            tracked.splitter.narrow(&times, age);
        }
    }

    fn read_times(&mut self, context: &MonitorContext<'_>) -> Option<ThreadTimes> {
        let inspector = current_inspector(&mut self.inspector, &self.worker)?;
        self.readings.read_complete(inspector, &context.recorder.clock)
    }

    /// Returns whether the worker is one of a runtime's workers and the own
    /// time of its poll has passed the threshold.
    pub(crate) fn is_blocked(&self, threshold_nanos: u64) -> bool {
        self.tracked.is_some()
            && self.is_runtime_worker()
            && self
                .worker
                .active()
                .and_then(|poll| self.worker.own_nanos(poll.seq))
                .is_some_and(|own| own >= threshold_nanos)
    }

    /// Returns whether a poll that may be long, and that began before `time`,
    /// is neither reported nor has an event.
    pub(crate) fn is_unsettled(&self, time: Ticks, clock: &ProcessClock) -> bool {
        self.latest.is_unsettled(time, clock)
    }

    /// Returns the age of the tracked poll.
    pub(crate) fn tracked_poll_age_nanos(&self, clock: &ProcessClock) -> Option<u64> {
        self.tracked.as_ref().map(|tracked| clock.wall_since(tracked.poll.start))
    }

    /// Returns the shortest time after which the first capture of the tracked
    /// poll may be due, if that is less than the regular interval of the
    /// passes.
    pub(crate) fn nanos_to_capture(&self) -> Option<u64> {
        self.tracked.as_ref().and_then(|tracked| tracked.nanos_to_capture)
    }

    /// Returns whether the current run may become long enough for a report,
    /// which requires a pass each tick.
    pub(crate) fn follows_run(&self, clock: &ProcessClock, threshold_nanos: u64) -> bool {
        self.run
            .as_ref()
            .is_some_and(|run| run.may_be_reported(clock.wall_since(run.start()), threshold_nanos))
    }

    /// Returns whether the worker is one of a runtime's workers. The thread of
    /// a root future may be none.
    pub(crate) fn is_runtime_worker(&self) -> bool {
        self.worker_index().is_some()
    }

    /// Returns the index of the worker in its runtime. Two threads have the
    /// same one if a worker has moved to another thread.
    pub(crate) fn worker_index(&self) -> Option<usize> {
        self.worker.label.worker.parse().ok()
    }

    /// Returns the label of the worker's runtime.
    pub(crate) fn runtime(&self) -> &Arc<str> {
        &self.runtime
    }

    /// Sets the length from which the worker reports waits.
    pub(crate) fn set_min_reported_wait_nanos(&self, nanos: u64) {
        self.worker.set_min_reported_wait_nanos(nanos);
    }

    /// Samples the thread of the tracked poll, and captures its stack when due.
    fn sample_tracked_poll(&mut self, context: &mut MonitorContext<'_>) {
        let Some(inspector) = current_inspector(&mut self.inspector, &self.worker) else { return };
        let Some(tracked) = &mut self.tracked else { return };
        tracked.nanos_to_capture = None;
        let Some(sample) = context.process_clock.sample(inspector) else { return };
        let thread = inspector.thread();
        self.readings.add_complete(thread, sample.times, &context.recorder.clock);
        let before = self.last_sample.replace((thread, sample)).filter(|(sampled, _)| *sampled == thread);
        let before = before.map(|(_, sample)| sample);
        if tracked.splitter.has_sample() {
            tracked.captures.extend(inspector.take_answer(&mut context.capture_tools()));
        }
        // The poll may have ended before its thread was sampled, and long
        // before if the watchdog lost its CPU. Then the sample says nothing
        // about it, and no end event would remove the stall.
        if !inspector.is_in_poll(tracked.poll.seq) {
            return;
        }
        let age = context.process_clock.wall(tracked.poll.start, sample.times.at);
        let paused = context.process_clock.paused(tracked.poll.start, sample.times.at);
        let age_unpaused = tracked.splitter.age(&sample.times, age, paused, 0);
        tracked.paused_nanos = age - age_unpaused;
        tracked.last_sample = Some((age, sample));
        let seen = tracked.splitter.last_sample_at().unwrap_or(tracked.poll.start);
        let gap = context.process_clock.watchdog_waited(seen, sample.times.at);
        tracked.splitter.add(sample, age_unpaused, gap);
        let times = tracked.times(age);
        tracked.stretch.add(&sample, times, inspector.signals_sent(), &mut tracked.captures);
        self.worker.set_own_nanos(tracked.poll.seq, times.own());
        let is_due = tracked.is_capture_due(&sample, times);
        let is_deferred = is_due && inspector.defers_capture(&sample, context.signals);
        if !is_deferred && tracked.take_due_capture(&sample, before.as_ref(), times) {
            // A second capture of one stall must not use up the budget for the
            // first capture of another, unless the thread now does something
            // else: without it, all the time would count for the first line.
            let is_required = tracked.captures.last().is_none_or(|last| sample.contradicts(last.on_cpu));
            let is_granted = if is_required {
                context.capture_budget.take(Instant::now())
            } else {
                context.capture_budget.take_spare(Instant::now())
            };
            let seq = tracked.poll.seq;
            if is_granted {
                tracked.captures.extend(inspector.capture(seq, age, &sample, &mut context.capture_tools()));
                context.process_clock.measure_pass();
            } else if tracked.captures.is_empty() {
                context.self_metrics.count_dropped(DropReason::CaptureBudget, 1);
                // Without a stack the stall still counts, with what the sample
                // shows.
                tracked.captures.push(inspector.capture_without_stack(age, &sample));
            }
            tracked.stretch.mark(&mut tracked.captures);
        }
        tracked.plan_pass(&sample, times, is_deferred);
        self.report_progress(times, age, context);
    }

    /// Reports the tracked poll at its first capture, at each milestone, and
    /// when a capture shows that its thread does something else. Between them,
    /// says how long it lasts. If its captures show several calls, only another
    /// report can say how long each of them lasts.
    fn report_progress(&mut self, times: TimeSplit, age_nanos: u64, context: &MonitorContext<'_>) {
        let milestone = ONGOING_REPORT_NANOS.iter().filter(|nanos| times.own() >= **nanos).count();
        let phase = if milestone > 0 { Phase::Lasts } else { Phase::Began };
        let is_stall = times.own() >= context.recorder.threshold_nanos;
        let is_unreported = |tracked: &mut TrackedPoll| {
            let is_new = tracked.is_report_due
                || tracked.reported_milestone != Some(milestone)
                || tracked.reported_stretch != tracked.last_stretch()
                || tracked.shows_several_stretches() && tracked.take_due_progress(times.own());
            is_stall && !tracked.captures.is_empty() && is_new
        };
        if let Some(mut tracked) = self.tracked.take_if(is_unreported) {
            tracked.reported_milestone = Some(milestone);
            tracked.is_report_due = false;
            tracked.reported_stretch = tracked.last_stretch();
            tracked.told_nanos = times.own();
            tracked.proven_times = times;
            self.report(&tracked, phase, age_nanos, times, context);
            self.tracked = Some(tracked);
        } else if let Some(tracked) = &mut self.tracked
            && tracked.take_due_progress(times.own())
        {
            let key = (self.index, tracked.poll.seq);
            // The time of a call that no capture shows yet would count for a
            // line that did not take it.
            if tracked.is_stretch_reported() {
                tracked.proven_times = times;
            }
            let progress = Message::Progress { key, duration_nanos: age_nanos, times: tracked.proven_times };
            context.outbox.send(progress, context.self_metrics);
        }
    }

    /// Ends tracking: the tracked poll is over. If it was long, its end event
    /// follows.
    fn finish_tracking(&mut self, context: &mut MonitorContext<'_>) {
        let Some(mut tracked) = self.tracked.take() else { return };
        if let Some(inspector) = &mut self.inspector {
            tracked.captures.extend(inspector.take_answer(&mut context.capture_tools()));
            let unanswered = inspector.end_requests();
            if tracked.captures.is_empty()
                && let Some(unanswered) = unanswered
            {
                context.self_metrics.count_capture(CaptureOutcome::NoStack);
                tracked.captures.push(unanswered);
            }
        }
        let has_no_end_event = context.recorder.has_no_end_event(&tracked.poll);
        let poll = tracked.poll;
        let is_sampled = tracked.splitter.has_sample();
        // The end event of an earlier poll would have come before.
        if let Some(earlier) = self.finished.replace(tracked) {
            self.end_reported(&earlier, context);
        }
        if has_no_end_event && is_sampled {
            self.finish_poll(poll, context.recorder.clock.ticks(), None, context);
        }
    }

    /// Ends the finished poll if its end event may be among those that found
    /// the ring full.
    fn end_without_event(&mut self, context: &MonitorContext<'_>) {
        let lost = self.worker.events.lost_polls();
        if let Some(finished) = self.finished.take_if(|finished| finished.lost_polls != lost) {
            self.end_reported(&finished, context);
        }
    }

    /// Ends a reported poll without an end event, so that it does not stay in
    /// progress. It counts with the time for which the samples show it.
    fn end_reported(&self, tracked: &TrackedPoll, context: &MonitorContext<'_>) {
        if tracked.reported_milestone.is_some()
            && let Some((age, _)) = tracked.last_sample
        {
            self.report(tracked, Phase::Ended, age, tracked.times(age), context);
        }
    }

    /// Returns what is known of a stall that ended before its first capture
    /// was due.
    fn capture_of_last_sample(&self, tracked: &TrackedPoll, times: TimeSplit) -> Capture {
        match (&self.inspector, tracked.last_sample) {
            // The thread ran at the end, but something else took the time.
            (_, Some((age, sample))) if has_just_woken(&sample, times) => {
                Capture::without_stack(age, false, None)
            }
            // What the thread did before the watchdog found the poll is not
            // known, so a thread that runs at the end proves no computation.
            (_, Some((age, sample))) if tracked.poll.is_untimed && sample.is_runnable() => {
                Capture::without_stack(age, false, None)
            }
            (Some(inspector), Some((age, sample))) => inspector.capture_without_stack(age, &sample),
            _ => Capture::without_stack(0, times.on_cpu > times.off_cpu, None),
        }
    }

    /// `after` are CPU times of the thread that were read after the event.
    fn handle_event(
        &mut self,
        event: LongEvent,
        after: Option<ThreadTimes>,
        context: &mut MonitorContext<'_>,
    ) {
        let clock = &context.recorder.clock;
        match event {
            LongEvent::Wait { nanos, end, task } => {
                if let Some(run) = &mut self.run
                    && nanos >= context.recorder.threshold_nanos
                {
                    run.others_waited = true;
                }
                let end_nanos = clock.since_start(end);
                let wait = TaskWait {
                    nanos: end_nanos.saturating_sub(nanos)..end_nanos,
                    task,
                    runtime: Arc::clone(&self.runtime),
                    is_long: nanos >= context.recorder.threshold_nanos,
                };
                context.outbox.send(Message::Wait(wait), context.self_metrics);
            }
            LongEvent::Poll { seq, start, is_untimed, end, task, kind } => {
                self.latest.add_event(seq);
                let poll = ActivePoll { seq, start, is_untimed, task, kind, ..ActivePoll::default() };
                self.finish_poll(poll, end, after, context);
            }
        }
    }

    /// Reports a long poll that has ended at `end`, as it was then. `after` are
    /// CPU times of the thread that were read after it.
    fn finish_poll(
        &mut self,
        poll: ActivePoll,
        end: Ticks,
        after: Option<ThreadTimes>,
        context: &mut MonitorContext<'_>,
    ) {
        let ActivePoll { seq, kind, .. } = poll;
        if self.tracked.as_ref().is_some_and(|tracked| tracked.poll.seq == seq) {
            self.finish_tracking(context);
        }
        let time = poll.start..end;
        let threshold = context.recorder.threshold_nanos;
        let clock = &context.process_clock;
        let duration = clock.wall(time.start, time.end);
        let mut tracked = self
            .finished
            .take_if(|tracked| tracked.poll.seq == seq)
            .unwrap_or_else(|| self.tracked_poll(poll, clock, threshold));
        tracked.poll.kind = kind;
        let paused = clock.paused(time.start, time.end);
        let late = after.map_or(0, |times| clock.wall(time.end, times.at));
        let age = tracked.splitter.age(&after.unwrap_or_default(), duration, paused, late);
        tracked.paused_nanos = duration - age;
        let seen = tracked.splitter.last_sample_at().unwrap_or(time.start);
        let gap = clock.watchdog_waited(seen, time.end);
        let times = tracked.splitter.split_at_end(age, after, late, gap);
        // What the CPU times leave over, and what they count as run, may be a
        // time in which the host of the machine ran nothing.
        let is_proven = tracked.was_seen_to_block() || !clock.is_disturbed(time.start, time.end);
        let is_stall = times.own() >= threshold && is_proven;
        // Without a reading after the end, a poll that was never sampled may
        // have been a stall.
        let is_unread = after.is_none() && !tracked.splitter.has_sample() && age >= threshold;
        context.self_metrics.count_starvation(duration.saturating_sub(times.own()), !is_stall && !is_unread);
        if is_stall && tracked.captures.is_empty() {
            tracked.captures.push(self.capture_of_last_sample(&tracked, times));
        }
        if is_unread {
            context.self_metrics.count_dropped(DropReason::EndedBeforeCapture, 1);
        } else if is_stall {
            self.report(&tracked, Phase::Ended, duration, times, context);
        } else if tracked.reported_milestone.is_some() {
            context.outbox.send(Message::NoStall((self.index, seq)), context.self_metrics);
        }
    }

    fn report(
        &self,
        tracked: &TrackedPoll,
        phase: Phase,
        duration_nanos: u64,
        times: TimeSplit,
        context: &MonitorContext<'_>,
    ) {
        let mut captures = tracked.captures.clone();
        // An answer to an earlier request may have arrived after a later
        // capture.
        captures.sort_by_key(|capture| capture.age_nanos);
        let evidence = StallEvidence {
            phase,
            polls: 1,
            key: (self.index, tracked.poll.seq),
            worker: self.worker.label.to_string(),
            tid: self.worker.tid(),
            runtime: Arc::clone(&self.runtime),
            held_driver: tracked.driver.held(),
            kind: tracked.poll.kind,
            start_nanos: context.recorder.clock.since_start(tracked.poll.start),
            is_lower_bound: tracked.poll.is_untimed,
            duration_nanos,
            times,
            threshold_nanos: context.recorder.threshold_nanos,
            captures,
        };
        context.outbox.send(Message::Stall(evidence), context.self_metrics);
    }
}

/// Returns the inspector of the worker's current thread. Replaces `inspector`
/// if it belongs to another thread.
fn current_inspector<'i>(inspector: &'i mut Option<Inspector>, worker: &Worker) -> Option<&'i mut Inspector> {
    let thread = worker.thread()?;
    if inspector.as_ref().is_none_or(|inspector| inspector.thread() != thread) {
        *inspector = Some(Inspector::new(thread, worker.slot));
    }
    inspector.as_mut()
}

#[cfg(all(test, stack_capture))]
mod tests;
