//! The bounded queue from the watchdog to the reporting thread. The watchdog
//! never waits for free capacity, except at its end.

use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::evidence::Message;
use crate::self_metrics::{DropReason, SelfMetrics};

/// How many messages may wait for the reporting thread.
const CAPACITY: usize = 1024;

/// The sending end of the queue.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(SyncSender<Message>);

impl Outbox {
    pub(crate) fn new() -> (Self, Receiver<Message>) {
        let (sender, receiver) = mpsc::sync_channel(CAPACITY);
        (Self(sender), receiver)
    }

    /// Sends a message, or counts it as dropped if the queue is full.
    pub(crate) fn send(&self, message: Message, self_metrics: &SelfMetrics) {
        if self.0.try_send(message).is_err() {
            self_metrics.count_dropped(DropReason::QueueFull, 1);
        }
    }

    /// Sends the last message. Waits until the reporting thread has received a
    /// message or has ended, if the queue is full.
    pub(crate) fn close(&self) {
        let _ = self.0.send(Message::End);
    }
}
