//! A poll of a named future that is not recorded: its scope is paused, or it is
//! inside a poll that is not recorded.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

#[cfg(tokio_unstable)]
use tokio::task;

#[cfg(tokio_unstable)]
use crate::instrument::task_number::task_number;
use crate::instrument::waker::WakeTracker;
use crate::record::current;
#[cfg(tokio_unstable)]
use crate::record::fast_poll;
use crate::record::poll_stack::{PollSource, PollStack};
use crate::record::recorder::Recorder;

/// Polls the future. With a tracker, the future keeps its waker, which earlier
/// polls may have stored.
#[cold]
pub(super) fn poll<F: Future>(
    future: Pin<&mut F>,
    tracker: Option<&mut WakeTracker>,
    recorder: &Arc<Recorder>,
    context: &mut Context<'_>,
) -> Poll<F::Output> {
    let _skipped = SkippedPoll::begin(recorder);
    match tracker {
        None => future.poll(context),
        Some(tracker) => {
            tracker.set_task_waker(context.waker());
            tracker.forget_wake();
            future.poll(&mut Context::from_waker(tracker.waker()))
        }
    }
}

/// Returns whether the future is in a poll that is not recorded: it began while
/// the scope was paused, or is nested too deeply.
pub(super) fn is_in_skipped_poll(recorder: &Recorder) -> bool {
    let innermost =
        current::with_existing_poll_stack(recorder, |polls| (polls.source(), polls.is_innermost_recorded()));
    #[cfg(tokio_unstable)]
    if innermost == Some((PollSource::NoPoll, true))
        && task::try_id().map(task_number) == Some(fast_poll::skipped_task())
    {
        return true;
    }
    innermost.is_some_and(|(_, is_recorded)| !is_recorded)
}

/// Ends when it is dropped, whether the future returns or panics.
struct SkippedPoll<'r> {
    recorder: &'r Recorder,
    /// Whether the thread has a poll stack, which knows of the poll.
    is_known: bool,
}

impl<'r> SkippedPoll<'r> {
    fn begin(recorder: &'r Recorder) -> Self {
        #[cfg(tokio_unstable)]
        if fast_poll::is_between_polls() {
            return Self { recorder, is_known: false };
        }
        let is_known = current::with_existing_poll_stack(recorder, PollStack::skip).is_some();
        Self { recorder, is_known }
    }
}

impl Drop for SkippedPoll<'_> {
    fn drop(&mut self) {
        if self.is_known {
            current::with_existing_poll_stack(self.recorder, |polls| polls.end(PollSource::Future));
        }
    }
}
