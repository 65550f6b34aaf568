//! Ends the monitoring of a worker whose thread has ended.

use crate::watchdog::worker_monitor::WorkerMonitor;
use crate::watchdog::worker_monitor::context::MonitorContext;

impl WorkerMonitor {
    /// The number of the worker, which identifies its stalls.
    pub(crate) fn number(&self) -> usize {
        self.worker.number
    }

    /// Returns whether the thread has ended. A pass that begins after that
    /// handles the worker's last events.
    pub(crate) fn has_ended(&self) -> bool {
        self.worker.has_ended()
    }

    /// Ends what the last pass has left open, and removes the worker from the
    /// recorder.
    pub(crate) fn end(&mut self, context: &mut MonitorContext<'_>) {
        self.finish_tracking(context);
        self.end_run(context);
        // The thread ended in the middle of this poll, so there is no event of
        // its end.
        if let Some((seq, start, kind)) = self.finished.as_ref().and_then(|tracked| {
            tracked.reported_milestone.map(|_| (tracked.poll.seq, tracked.poll.start, tracked.poll.kind))
        }) {
            self.finish_poll(seq, kind, start..context.recorder.clock.ticks(), None, context);
        }
        context.recorder.remove(&self.worker);
    }
}
