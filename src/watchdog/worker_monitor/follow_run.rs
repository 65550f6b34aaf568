//! Follows one task over many polls.

use std::sync::Arc;
use std::time::Instant;

use crate::evidence::{Message, Phase, StallEvidence};
use crate::record::slot::ActivePoll;
use crate::watchdog::task_run::TaskRun;
use crate::watchdog::worker_monitor::context::MonitorContext;
use crate::watchdog::worker_monitor::{WorkerMonitor, current_inspector};

impl WorkerMonitor {
    /// Adds the poll of this pass to the run of its task.
    pub(super) fn follow_run(&mut self, active: Option<ActivePoll>, context: &mut MonitorContext<'_>) {
        let threshold = context.recorder.threshold_nanos;
        // A poll that is a stall by itself is not part of a run.
        if self.tracked.as_ref().is_some_and(|tracked| tracked.reported_milestone.is_some()) {
            return self.end_run(context);
        }
        let Some(run) = &mut self.run else {
            self.run = active.map(|poll| self.new_run(poll, context));
            return;
        };
        if !run.continue_with(active) {
            self.end_run(context);
            self.run = active.map(|poll| self.new_run(poll, context));
            return;
        }
        if !run.is_sample_due(context.process_clock.wall_since(run.start()), threshold) {
            return;
        }
        run.others_waited = run.others_waited || context.recorder.has_ready_tasks_for(&self.worker);
        let Some(inspector) = current_inspector(&mut self.inspector, &self.worker) else { return };
        let Some(sample) = context.process_clock.sample(inspector) else { return };
        let age = context.process_clock.elapsed(run.start(), sample.times.at);
        let seen = run.splitter.last_sample_at().unwrap_or(run.start());
        let gap = context.process_clock.watchdog_waited(seen, sample.times.at);
        run.splitter.add(sample, age, gap);
        let own = run.splitter.split(age).own();
        if !inspector.has_open_request()
            && run.is_capture_due(age, own, threshold)
            && !inspector.defers_capture(&sample, context.signals)
            && context.capture_budget.take_spare(Instant::now())
            && let Some(poll) = active
        {
            let capture = inspector.capture(poll.seq, age, &sample, &mut context.capture_tools());
            context.process_clock.measure_pass();
            if let Some(capture) = capture.filter(|capture| !capture.stack.is_empty()) {
                run.add_capture(capture, own);
            }
            // A later answer would be taken for a capture of this poll, not of
            // the run.
            inspector.end_requests();
        }
    }

    fn new_run(&self, poll: ActivePoll, context: &MonitorContext<'_>) -> TaskRun {
        let splitter = self.splitter_from(poll.start, context.process_clock);
        TaskRun::new(poll, splitter, context.recorder.threshold_nanos)
    }

    /// Ends the run, and reports it if it has a capture.
    pub(super) fn end_run(&mut self, context: &MonitorContext<'_>) {
        let Some(run) = self.run.take().filter(|run| !run.captures.is_empty()) else { return };
        let clock = &context.recorder.clock;
        let (first, now) = (run.first(), clock.ticks());
        let elapsed = context.process_clock.elapsed(run.start(), now);
        let evidence = StallEvidence {
            phase: Phase::Ended,
            polls: run.polls(),
            // Polls have odd numbers, so no poll has this key.
            key: (self.index, first.seq + 1),
            worker: self.worker.label.to_string(),
            tid: self.worker.tid(),
            runtime: Arc::clone(&self.runtime),
            held_driver: None,
            kind: first.kind,
            start_nanos: clock.since_start(first.start),
            is_lower_bound: first.is_untimed,
            duration_nanos: context.process_clock.wall(run.start(), now),
            times: run.splitter.split(elapsed),
            threshold_nanos: context.recorder.threshold_nanos,
            captures: run.captures,
        };
        context.outbox.send(Message::Stall(evidence), context.self_metrics);
    }
}
