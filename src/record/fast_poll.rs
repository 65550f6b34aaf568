//! A poll that reads no clock, begun and ended without the thread's poll stack.
//!
//! Finding and checking the poll stack takes longer than all stores into the
//! slot. Once a poll of some hooks has ended on the stack and none is in
//! progress there, the stack makes this thread ready for the next polls of
//! these hooks. Whatever uses the poll stacks of the thread first moves the
//! fast poll to its stack: see `PollStacks::settle` in
//! [`current`](crate::record::current). So the stacks never miss a poll, and
//! only polls without anything of loopscope inside stay fast.

use std::cell::Cell;
use std::panic::Location;

use crate::record::slot::Slot;

struct FastPolls {
    /// The hooks whose polls need no poll stack; zero if there are none.
    hook_id: Cell<u32>,
    slot: Cell<Option<&'static Slot>>,
    /// Whether a fast poll is in progress.
    is_in_poll: Cell<bool>,
    /// The task whose poll was the last to be skipped by [`skip`].
    skipped_task: Cell<u64>,
}

thread_local! {
    static FAST_POLLS: FastPolls = const {
        FastPolls {
            hook_id: Cell::new(0),
            slot: Cell::new(None),
            is_in_poll: Cell::new(false),
            skipped_task: Cell::new(0),
        }
    };
}

/// Begins a fast poll. Returns `false` if the thread is not ready for it.
#[inline]
pub(crate) fn begin(hook_id: u32, task: u64, spawned_at: &'static Location<'static>) -> bool {
    FAST_POLLS.with(|fast| {
        if fast.hook_id.get() != hook_id || fast.is_in_poll.get() {
            return false;
        }
        let Some(slot) = fast.slot.get() else { return false };
        if slot.is_idle() || slot.is_taken_over() {
            return false;
        }
        slot.begin_at(task, spawned_at);
        fast.is_in_poll.set(true);
        true
    })
}

/// Notes that a poll begins which is not recorded. Returns `false` if the
/// thread is not ready: a poll may be in progress.
#[inline]
pub(crate) fn skip(hook_id: u32, task: u64) -> bool {
    FAST_POLLS.with(|fast| {
        if fast.hook_id.get() != hook_id || fast.is_in_poll.get() {
            return false;
        }
        fast.skipped_task.set(task);
        true
    })
}

/// Ends a fast poll, or one that was skipped. Returns `false` if the poll may
/// be on the poll stack, or if the watchdog has found it.
#[inline]
pub(crate) fn end(hook_id: u32) -> bool {
    FAST_POLLS.with(|fast| {
        if fast.hook_id.get() != hook_id {
            return false;
        }
        if !fast.is_in_poll.get() {
            return true;
        }
        let Some(slot) = fast.slot.get() else { return false };
        if slot.is_taken_over() || slot.own_poll_found_at().is_some() {
            return false;
        }
        slot.end_uncounted();
        fast.is_in_poll.set(false);
        true
    })
}

/// Makes the thread ready for fast polls of these hooks. No poll of theirs is
/// in progress. A thread that has no slot yet can only skip polls.
pub(crate) fn make_ready(hook_id: u32, slot: Option<&'static Slot>) {
    FAST_POLLS.with(|fast| {
        fast.hook_id.set(hook_id);
        fast.slot.set(slot);
        fast.is_in_poll.set(false);
    });
}

/// Returns whether the thread is ready for fast polls, or in one.
#[inline]
pub(super) fn is_ready() -> bool {
    FAST_POLLS.with(|fast| fast.hook_id.get() != 0)
}

/// Returns whether the thread is ready for fast polls and in none. Then its
/// poll stack for the hooks is in no poll either.
pub(crate) fn is_between_polls() -> bool {
    FAST_POLLS.with(|fast| fast.hook_id.get() != 0 && !fast.is_in_poll.get())
}

/// Returns the task whose poll was the last to be skipped by [`skip`].
pub(crate) fn skipped_task() -> u64 {
    FAST_POLLS.with(|fast| fast.skipped_task.get())
}

/// Ends the readiness. Returns the slot of the fast poll in progress.
pub(super) fn take() -> Option<&'static Slot> {
    FAST_POLLS.with(|fast| {
        fast.hook_id.set(0);
        fast.slot.take().filter(|_| fast.is_in_poll.replace(false))
    })
}

/// Ends the readiness if it is for this slot, which the thread gives up.
pub(super) fn forget(slot: &'static Slot) {
    FAST_POLLS.with(|fast| {
        if fast.slot.get().is_some_and(|ready| std::ptr::eq(ready, slot)) {
            fast.hook_id.set(0);
            fast.slot.set(None);
            fast.is_in_poll.set(false);
        }
    });
}
