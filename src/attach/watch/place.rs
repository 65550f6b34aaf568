//! Whether a thread is in a poll, by its stack.

use crate::attach::document::{PsRole, PsThreadState};
use crate::evidence::Capture;
use crate::finding::{Evidence, Frame};
use crate::threads::role::{self, Activity, StackView};
use crate::watchdog::sample::ThreadActivity;

/// Where a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A thread of a runtime waits for work.
    Idle,
    /// A thread of a runtime is in the poll of a task or of a root future.
    InPoll,
    /// Elsewhere, or the stack does not show it.
    Elsewhere,
}

/// What a thread of a runtime is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopKind {
    /// A worker of a multi-thread runtime.
    Worker,
    /// The thread of a `block_on`.
    BlockOn,
}

/// Returns where the thread named `name` is, and what it is if it runs an event
/// loop. `frames` are those of the capture.
pub(super) fn place(
    name: &str,
    capture: &Capture,
    frames: &[Frame],
    activity: ThreadActivity,
) -> (Place, Option<LoopKind>) {
    let has_names = frames.iter().any(|frame| frame.function.contains("::"));
    let is_complete = has_names && matches!(capture.evidence, Evidence::Stack | Evidence::Reconstructed);
    let activity = Activity::new(activity, capture.call.as_ref());
    let placement = role::placement(name, StackView { frames, is_complete }, activity);
    let kind = match placement.role {
        PsRole::Worker => Some(LoopKind::Worker),
        PsRole::BlockOn => Some(LoopKind::BlockOn),
        PsRole::Blocking | PsRole::Runtime | PsRole::Other => None,
    };
    let place = match (kind, placement.state) {
        (Some(_), PsThreadState::Blocked | PsThreadState::Polling) => Place::InPoll,
        (Some(_), PsThreadState::Parked | PsThreadState::DrivingIo) => Place::Idle,
        _ => Place::Elsewhere,
    };
    (place, kind)
}
