//! Following one task over many polls.

use std::time::Instant;

use crate::evidence::{Message, Phase, StallEvidence};
use crate::record::slot::ActivePoll;
use crate::watchdog::task_run::TaskRun;
use crate::watchdog::time_split::TimeSplitter;
use crate::watchdog::worker_monitor::context::MonitorContext;
use crate::watchdog::worker_monitor::{WorkerMonitor, inspector};

impl WorkerMonitor {
    /// Follows a task from poll to poll.
    pub(super) fn follow(&mut self, active: Option<ActivePoll>, context: &mut MonitorContext<'_>) {
        let threshold = context.recorder.threshold_nanos;
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
        if !run.is_watched(context.process_clock.wall_since(run.start()), threshold) {
            return;
        }
        run.others_waited = run.others_waited || context.recorder.is_anyone_ready_at(&self.worker);
        let Some(inspector) = inspector(&mut self.inspector, &self.worker) else { return };
        let Some(sample) = context.process_clock.sample(inspector) else { return };
        let age = context.process_clock.elapsed(run.start(), sample.at);
        let time_split = run.time_split.get_or_insert_with(|| TimeSplitter::new(sample));
        time_split.add(sample, context.process_clock.elapsed(time_split.at(), sample.at));
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
        let passed = context.process_clock.elapsed(run.start(), now);
        let evidence = StallEvidence {
            phase: Phase::Ended,
            polls: run.polls(),
            // Polls have odd numbers.
            key: (self.index, first.seq + 1),
            worker: self.worker.label.to_string(),
            kind: first.kind,
            start_unix_ns: clock.unix_nanos(first.start),
            start_nanos: clock.since_start(first.start),
            duration_nanos: context.process_clock.wall(run.start(), now),
            times: run.time_split.map(|time_split| time_split.times().scaled_to(passed)).unwrap_or_default(),
            captures: run.captures,
        };
        context.outbox.send(Message::Stall(evidence), context.self_metrics);
    }
}
