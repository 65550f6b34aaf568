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
        let finished = self.finished.as_ref().filter(|tracked| tracked.reported_milestone.is_some());
        if let Some(poll) = finished.map(|tracked| tracked.poll) {
            self.finish_poll(poll, context.recorder.clock.ticks(), None, context);
        }
        context.recorder.remove(&self.worker);
    }
}
