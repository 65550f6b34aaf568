//! The queue from the watchdog to the reporting thread. The watchdog never
//! waits for free capacity.

mod pending;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::evidence::Message;
use crate::lock::{Lock, Signal};
use crate::outbox::pending::PendingMessages;
use crate::self_metrics::{DropReason, SelfMetrics};

/// A flush waits for this many passes that count. A pass reads the events of a
/// worker before its slot. If a poll ends in between, the pass finds no long
/// poll in the slot, and the next pass finds the event.
const PASSES_PER_FLUSH: u64 = 2;

/// The queue. The watchdog sends, the reporting thread receives, and any thread
/// may wait until both are done.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Lock<State>,
    /// A message has arrived, or the queue was closed.
    arrived: Signal,
    /// A pass has ended, or a message was handled.
    advanced: Signal,
}

#[derive(Debug, Default)]
struct State {
    pending: PendingMessages,
    /// The number of the message that the reporting thread handles now.
    handling: Option<u64>,
    is_closed: bool,
    is_receiver_waiting: bool,
    /// How many threads wait in [`Outbox::flush`].
    flushing: usize,
    /// How many flushes have begun.
    flushes: u64,
    passes_begun: u64,
    passes_made: u64,
    /// The watchdog must not sleep before it has begun this many passes.
    passes_requested: u64,
}

/// What [`Outbox::receive`] has received.
#[derive(Debug)]
pub(crate) enum Received {
    Message(Message),
    /// The deadline came first.
    Nothing,
    /// The queue is closed and empty.
    Closed,
}

impl Outbox {
    /// Sends a message, or counts it as dropped if there is no room for it.
    pub(crate) fn send(&self, message: Message, self_metrics: &SelfMetrics) {
        let mut state = self.state.lock();
        let is_kept = state.pending.add(message);
        let wakes_receiver = state.is_receiver_waiting;
        drop(state);
        if !is_kept {
            self_metrics.count_dropped(DropReason::QueueFull, 1);
        }
        if wakes_receiver {
            self.arrived.notify_all();
        }
    }

    /// Closes the queue. Messages that are in it can still be received.
    fn close(&self) {
        self.state.lock().is_closed = true;
        self.arrived.notify_all();
        self.advanced.notify_all();
    }

    /// Waits for the next message, until the deadline at the latest, if there
    /// is one. The message before counts as handled.
    pub(crate) fn receive(&self, deadline: Option<Instant>) -> Received {
        let mut state = self.state.lock();
        state.handling = None;
        if state.flushing > 0 {
            self.advanced.notify_all();
        }
        loop {
            if let Some((number, message)) = state.pending.take() {
                state.handling = Some(number);
                return Received::Message(message);
            }
            if state.is_closed {
                return Received::Closed;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Received::Nothing;
            }
            state.is_receiver_waiting = true;
            state = self.arrived.wait_until(state, deadline);
            state.is_receiver_waiting = false;
        }
    }

    /// Returns the next message, if there is one.
    #[cfg(test)]
    pub(crate) fn try_receive(&self) -> Option<Message> {
        self.state.lock().pending.take().map(|(_, message)| message)
    }

    /// Returns how many messages have not been handled.
    pub(crate) fn pending(&self) -> u64 {
        let state = self.state.lock();
        state.pending.len() as u64 + u64::from(state.handling.is_some())
    }

    /// Notes that the watchdog begins a pass. Returns how many flushes have
    /// begun.
    pub(crate) fn begin_pass(&self) -> u64 {
        let mut state = self.state.lock();
        state.passes_begun += 1;
        state.flushes
    }

    /// Notes that the watchdog has made the pass that it began. The pass does
    /// not count for a flush unless it `is_settled`: a long poll that is over
    /// may have no event yet.
    pub(crate) fn end_pass(&self, is_settled: bool) {
        let mut state = self.state.lock();
        if !is_settled {
            state.passes_begun -= 1;
        }
        state.passes_made = state.passes_begun;
        let has_flush = state.flushing > 0;
        drop(state);
        if has_flush {
            self.advanced.notify_all();
        }
    }

    /// Returns whether a flush waits for another pass.
    pub(crate) fn is_pass_requested(&self) -> bool {
        let state = self.state.lock();
        state.passes_begun < state.passes_requested
    }

    /// Waits until the watchdog has made the passes of a flush and the
    /// reporting thread has handled all messages up to the end of the last one.
    /// `wake_watchdog` ends the watchdog's sleep. Returns `false` if this takes
    /// longer than `timeout`.
    pub(crate) fn flush(&self, timeout: Duration, wake_watchdog: impl FnOnce()) -> bool {
        // A deadline that cannot be represented is never reached.
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.state.lock();
        let wanted = state.passes_begun + PASSES_PER_FLUSH;
        state.passes_requested = state.passes_requested.max(wanted);
        state.flushing += 1;
        state.flushes += 1;
        drop(state);
        wake_watchdog();
        let mut is_done = self.wait_until(deadline, |state| state.passes_made >= wanted);
        if is_done {
            let end = self.state.lock().pending.next_number();
            is_done = self.wait_until(deadline, |state| {
                let first = state.handling.into_iter().chain(state.pending.first_number()).min();
                first.is_none_or(|first| first >= end)
            });
        }
        self.state.lock().flushing -= 1;
        is_done
    }

    /// Waits until `is_done`. Returns `false` if the deadline comes first, or
    /// if the queue is closed.
    fn wait_until(&self, deadline: Option<Instant>, is_done: impl Fn(&State) -> bool) -> bool {
        let mut state = self.state.lock();
        loop {
            if is_done(&state) {
                return true;
            }
            if state.is_closed || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            state = self.advanced.wait_until(state, deadline);
        }
    }
}

/// The watchdog's end of the queue. Closes the queue when it is dropped: by a
/// panic too, and if the watchdog's thread cannot be started.
#[derive(Debug)]
pub(crate) struct SendingEnd(pub(crate) Arc<Outbox>);

impl Drop for SendingEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
