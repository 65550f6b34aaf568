//! Monitors one worker: tracks its poll in progress, and reports stalls.

mod context;
mod follow_run;
mod lock_holder;
mod tracked_poll;

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::evidence::{LONG_STALL_NANOS, Message, Phase, StallEvidence};
use crate::os::ThreadInfo;
use crate::record::clock::Ticks;
use crate::record::kinds::KindId;
use crate::record::long_events::LongEvent;
use crate::record::slot::ActivePoll;
use crate::record::worker::Worker;
use crate::self_metrics::{CaptureOutcome, DropReason};
use crate::watchdog::inspector::Inspector;
#[cfg(not(tokio_unstable))]
use crate::watchdog::no_progress::NoProgress;
use crate::watchdog::process_clock::ProcessClock;
use crate::watchdog::sample::ThreadSample;
use crate::watchdog::task_run::TaskRun;
use crate::watchdog::time_split::TimeSplitter;
pub(crate) use crate::watchdog::worker_monitor::context::MonitorContext;
use crate::watchdog::worker_monitor::tracked_poll::TrackedPoll;

const SECOND: u64 = 1_000_000_000;
/// A stall is reported again at each of these attributable times, before its
/// end.
const ONGOING_REPORT_NANOS: [u64; 4] = [LONG_STALL_NANOS, 60 * SECOND, 600 * SECOND, 3600 * SECOND];

/// The monitor of one worker.
pub(crate) struct WorkerMonitor {
    index: usize,
    worker: Arc<Worker>,
    inspector: Option<Inspector>,
    /// The last sample of a tracked poll, with its thread.
    last_sample: Option<(ThreadInfo, ThreadSample)>,
    tracked: Option<TrackedPoll>,
    /// The previous tracked poll, whose end event may not have arrived yet.
    finished: Option<TrackedPoll>,
    #[cfg(not(tokio_unstable))]
    no_progress: NoProgress,
    /// The task that every recent pass found here.
    run: Option<TaskRun>,
}

impl WorkerMonitor {
    pub(crate) fn new(index: usize, worker: Arc<Worker>) -> Self {
        Self {
            index,
            worker,
            inspector: None,
            last_sample: None,
            tracked: None,
            finished: None,
            run: None,
            #[cfg(not(tokio_unstable))]
            no_progress: NoProgress::default(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.worker.slot.is_idle() || (self.is_unhooked() && self.worker.slot.active().is_none())
    }

    /// Returns whether no park hook has been called on the thread.
    pub(crate) fn is_unhooked(&self) -> bool {
        self.worker.parks.get() == 0
    }

    /// Handles the events since the last pass, then samples the poll in
    /// progress.
    pub(crate) fn sample(&mut self, context: &mut MonitorContext<'_>) {
        let worker = Arc::clone(&self.worker);
        let events: Vec<_> = worker.events.drain().collect();
        if !events.is_empty() {
            // The process may have paused in the middle of this pass.
            context.process_clock.measure_pause();
        }
        for event in events {
            self.handle_event(event, context);
        }
        self.end_without_event(context);
        worker.events.set_handled();
        let active = worker.active();
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
        let threshold = context.recorder.threshold_nanos;
        let lost_polls = worker.events.lost_polls();
        self.tracked = active.map(|poll| TrackedPoll::new(poll, lost_polls, threshold));
        // Most polls end before this age.
        if self.tracked_poll_age_nanos(context.process_clock).is_some_and(|nanos| nanos >= threshold / 4) {
            self.sample_tracked_poll(context);
        }
    }

    /// Returns whether the worker is one of a runtime's workers and its poll
    /// has passed the threshold.
    pub(crate) fn is_blocked(&self, clock: &ProcessClock, threshold_nanos: u64) -> bool {
        if self.worker.label.worker.parse::<usize>().is_err() {
            return false;
        }
        self.tracked.is_some()
            && self.worker.active().is_some_and(|poll| clock.wall_since(poll.start) >= threshold_nanos)
    }

    /// Returns the age of the tracked poll.
    pub(crate) fn tracked_poll_age_nanos(&self, clock: &ProcessClock) -> Option<u64> {
        self.tracked.as_ref().map(|tracked| clock.wall_since(tracked.poll.start))
    }

    /// Returns whether the current run may become long enough for a report,
    /// which requires a pass each tick.
    pub(crate) fn follows_run(&self, clock: &ProcessClock, threshold_nanos: u64) -> bool {
        self.run
            .as_ref()
            .is_some_and(|run| run.may_be_reported(clock.wall_since(run.start()), threshold_nanos))
    }

    pub(crate) fn runtime(&self) -> &str {
        &self.worker.label.runtime
    }

    /// Samples the thread of the tracked poll, and captures its stack when due.
    fn sample_tracked_poll(&mut self, context: &mut MonitorContext<'_>) {
        let Some(inspector) = current_inspector(&mut self.inspector, &self.worker) else { return };
        let Some(tracked) = &mut self.tracked else { return };
        let Some(sample) = context.process_clock.sample(inspector) else { return };
        tracked.paused_nanos = context.process_clock.paused(tracked.poll.start, sample.at);
        let age = context.process_clock.wall(tracked.poll.start, sample.at);
        tracked.sampled_nanos = age;
        let thread = inspector.thread();
        let before = self.last_sample.replace((thread, sample)).filter(|(sampled, _)| *sampled == thread);
        let before = before.map(|(_, sample)| sample);
        let times = if let Some(splitter) = &mut tracked.splitter {
            splitter.add(sample, context.process_clock.elapsed(splitter.at(), sample.at));
            tracked.captures.extend(inspector.take_answer(&mut context.capture_tools()));
            tracked.times(age)
        } else {
            let elapsed = context.process_clock.elapsed(tracked.poll.start, sample.at);
            let splitter = TimeSplitter::begin(sample, before, elapsed);
            // The first sample proves a part of the time. This part counts at
            // once: if the watchdog waits for a CPU, there may be no second
            // sample.
            let proven = splitter.split();
            tracked.splitter = Some(splitter);
            proven
        };
        // The poll may have ended before its thread was sampled. Then the
        // sample says nothing about it, and no end event would remove the
        // stall.
        if !inspector.is_in_poll(tracked.poll.seq) {
            return;
        }
        if tracked.take_due_capture(&sample, before.as_ref(), times) {
            // A second capture of one stall must not use up the budget for the
            // first capture of another.
            let is_granted = if tracked.captures.is_empty() {
                context.capture_budget.take(Instant::now())
            } else {
                context.capture_budget.take_spare(Instant::now())
            };
            let seq = tracked.poll.seq;
            if is_granted {
                tracked.captures.extend(inspector.capture(seq, age, &sample, &mut context.capture_tools()));
            } else if tracked.captures.is_empty() {
                context.self_metrics.count_dropped(DropReason::CaptureBudget, 1);
                // Without a stack the stall still counts, with what the sample
                // shows.
                tracked.captures.push(inspector.capture_without_stack(age, &sample));
            }
        }
        self.report_progress(times.attributable(), age, context);
    }

    /// Reports the tracked poll at its first capture, and at each milestone.
    /// Between them, says how long it lasts.
    fn report_progress(&mut self, attributable_nanos: u64, age_nanos: u64, context: &MonitorContext<'_>) {
        let milestone = ONGOING_REPORT_NANOS.iter().filter(|nanos| attributable_nanos >= **nanos).count();
        let phase = if milestone > 0 { Phase::Lasts } else { Phase::Began };
        let is_unreported = |tracked: &mut TrackedPoll| {
            !tracked.captures.is_empty() && tracked.reported_milestone != Some(milestone)
        };
        if let Some(mut tracked) = self.tracked.take_if(is_unreported) {
            tracked.reported_milestone = Some(milestone);
            tracked.told_nanos = attributable_nanos;
            self.report(&tracked, phase, age_nanos, context);
            self.tracked = Some(tracked);
        } else if let Some(tracked) = &mut self.tracked
            && tracked.take_due_progress(attributable_nanos)
        {
            let (key, times) = ((self.index, tracked.poll.seq), tracked.times(age_nanos));
            let progress = Message::Progress { key, duration_nanos: age_nanos, times };
            context.outbox.send(progress, context.self_metrics);
        }
    }

    /// Ends tracking: the tracked poll is over. If it was long, its end event
    /// follows.
    fn finish_tracking(&mut self, context: &mut MonitorContext<'_>) {
        let Some(mut tracked) = self.tracked.take() else { return };
        if let Some(inspector) = &mut self.inspector {
            tracked.captures.extend(inspector.take_answer(&mut context.capture_tools()));
            let unanswered = inspector.cancel_request();
            if tracked.captures.is_empty()
                && let Some(unanswered) = unanswered
            {
                context.self_metrics.count_capture(CaptureOutcome::NoStack);
                tracked.captures.push(unanswered);
            }
        }
        let has_no_end_event = context.recorder.has_no_end_event(&tracked.poll);
        if tracked.splitter.is_some() {
            let ActivePoll { seq, start, kind, .. } = tracked.poll;
            // The end event of an earlier poll would have come before.
            if let Some(earlier) = self.finished.replace(tracked) {
                self.end_reported(&earlier, context);
            }
            if has_no_end_event {
                self.finish_poll(seq, kind, start..context.recorder.clock.ticks(), context);
            }
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

    /// Ends a poll without an end event, so that it does not stay in progress.
    /// It counts with the time for which the samples show it.
    fn end_reported(&self, tracked: &TrackedPoll, context: &MonitorContext<'_>) {
        if tracked.reported_milestone.is_some() {
            self.report(tracked, Phase::Ended, tracked.sampled_nanos, context);
        }
    }

    fn handle_event(&mut self, event: LongEvent, context: &mut MonitorContext<'_>) {
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
                self.finish_poll(seq, kind, start..end, context);
            }
        }
    }

    /// Reports a long poll that has ended. `kind` is the poll's kind at its
    /// end.
    fn finish_poll(&mut self, seq: u64, kind: KindId, time: Range<Ticks>, context: &mut MonitorContext<'_>) {
        if self.tracked.as_ref().is_some_and(|tracked| tracked.poll.seq == seq) {
            self.finish_tracking(context);
        }
        let threshold = context.recorder.threshold_nanos;
        let duration = context.process_clock.wall(time.start, time.end);
        let paused = context.process_clock.paused(time.start, time.end);
        let Some(mut tracked) = self.finished.take_if(|tracked| tracked.poll.seq == seq) else {
            if context.process_clock.elapsed(time.start, time.end) < threshold {
                return context.self_metrics.count_starvation(paused, true);
            }
            return context.self_metrics.count_dropped(DropReason::EndedBeforeCapture, 1);
        };
        tracked.paused_nanos = paused;
        tracked.poll.kind = kind;
        let is_stall = tracked.attributable_nanos(duration) >= threshold;
        let starved = tracked.times(duration).run_queue + tracked.paused_nanos;
        context.self_metrics.count_starvation(starved, !is_stall);
        if is_stall && tracked.captures.is_empty() {
            context.self_metrics.count_dropped(DropReason::EndedBeforeCapture, 1);
        } else if is_stall {
            self.report(&tracked, Phase::Ended, duration, context);
        } else if tracked.reported_milestone.is_some() {
            context.outbox.send(Message::NoStall((self.index, seq)), context.self_metrics);
        }
    }

    fn report(&self, tracked: &TrackedPoll, phase: Phase, duration_nanos: u64, context: &MonitorContext<'_>) {
        let mut captures = tracked.captures.clone();
        // An answer to an earlier request may have arrived after a later
        // capture.
        captures.sort_by_key(|capture| capture.age_nanos);
        let evidence = StallEvidence {
            phase,
            polls: 1,
            key: (self.index, tracked.poll.seq),
            worker: self.worker.label.to_string(),
            kind: tracked.poll.kind,
            start_nanos: context.recorder.clock.since_start(tracked.poll.start),
            duration_nanos,
            times: tracked.times(duration_nanos),
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
