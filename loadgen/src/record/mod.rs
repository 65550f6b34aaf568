//! Records what the clients receive: counts, latencies and sequences, in
//! bounded memory.

mod counts;
mod failure;
mod interval_latencies;
mod interval_log;
mod latency;
mod latency_slices;
mod live;
mod logins;
mod payload;
mod recorder;
mod run_state;
mod sent_requests;
mod sequence;
mod slow;
mod timeline;

pub(crate) use counts::Counts;
pub(crate) use failure::{Failure, FailureKind, Failures};
pub(crate) use interval_latencies::IntervalLatencies;
pub(crate) use interval_log::IntervalLog;
pub(crate) use latency::{histogram, with_digits};
pub(crate) use live::{LiveCounters, LiveCounts, count};
pub(crate) use logins::{LoginOutcome, LoginRecorder, StormRecord};
pub(crate) use payload::Payload;
pub(crate) use recorder::{Receipt, Recorder};
pub(crate) use run_state::RunState;
pub(crate) use sent_requests::SentRequests;
#[cfg(test)]
pub(crate) use sequence::Arrival;
pub(crate) use sequence::{Inbox, Visit};
pub(crate) use slow::{SlowWaits, WaitSpan};
pub(crate) use timeline::Bins;
