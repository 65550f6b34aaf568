//! From the watchdog to the reporting thread: bounded, and never waited for.

use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::evidence::Message;
use crate::self_metrics::{Dropped, SelfMetrics};

/// Messages that may wait for the reporting thread.
const CAPACITY: usize = 1024;

#[derive(Debug, Clone)]
pub(crate) struct Outbox(SyncSender<Message>);

impl Outbox {
    pub(crate) fn new() -> (Self, Receiver<Message>) {
        let (sender, receiver) = mpsc::sync_channel(CAPACITY);
        (Self(sender), receiver)
    }

    pub(crate) fn send(&self, message: Message, self_metrics: &SelfMetrics) {
        if self.0.try_send(message).is_err() {
            self_metrics.dropped(Dropped::QueueFull, 1);
        }
    }

    /// Says that nothing more comes. Waits for room, which there is once the
    /// reporting thread has taken a message, or is gone.
    pub(crate) fn close(&self) {
        let _ = self.0.send(Message::End);
    }
}
