//! What happened: counts, latencies and sequences, in bounded memory.

mod counts;
mod failure;
mod inbox;
mod interval_log;
mod latency_slices;
mod live;
mod recorder;
mod run_state;
mod sequence;
mod slow;
mod timeline;
mod visit;

pub(crate) use counts::Counts;
pub(crate) use failure::{Failure, FailureKind, Failures};
pub(crate) use inbox::Inbox;
pub(crate) use interval_log::{IntervalLog, Intervals};
pub(crate) use live::{Live, LiveView, count};
pub(crate) use recorder::{Receipt, Recorder, histogram};
pub(crate) use run_state::Shared;
pub(crate) use slow::Span;
pub(crate) use timeline::Bins;
pub(crate) use visit::Visit;
