//! What happened: counts, latencies and sequences, in bounded memory.

mod failure;
mod inbox;
mod live;
mod recorder;
mod sequence;
mod shared;

pub(crate) use failure::{Failure, FailureKind, Failures};
pub(crate) use inbox::Inbox;
pub(crate) use live::{Live, LiveView, count};
pub(crate) use recorder::{Recorder, histogram};
pub(crate) use shared::Shared;
