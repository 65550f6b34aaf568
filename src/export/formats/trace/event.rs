//! The JSON of a trace, in the Trace Event Format.

use std::borrow::Cow;

use serde::Serialize;

use crate::finding::{Cause, Evidence};

/// The whole trace.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TraceDocument<'d> {
    pub(super) display_time_unit: &'static str,
    pub(super) other_data: OtherData<'d>,
    pub(super) trace_events: Vec<Event<'d>>,
}

/// What the trace as a whole is.
#[derive(Debug, Serialize)]
pub(super) struct OtherData<'d> {
    /// The time that all `ts` are relative to.
    pub(super) begin_unix_seconds: f64,
    pub(super) end_unix_seconds: f64,
    pub(super) program: &'d str,
    pub(super) loopscope: &'d str,
    pub(super) threshold_seconds: f64,
    /// How many older polls the trace would have if its size had no limit.
    pub(super) omitted_polls: usize,
}

/// A slice of a thread, or a name.
#[derive(Debug, Serialize)]
pub(super) struct Event<'d> {
    pub(super) ph: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cat: Option<&'static str>,
    pub(super) name: Cow<'d, str>,
    pub(super) pid: u32,
    pub(super) tid: u32,
    /// In microseconds.
    pub(super) ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) args: Option<Args<'d>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Args<'d> {
    Name { name: Cow<'d, str> },
    SortIndex { sort_index: usize },
    Poll(PollArgs),
    Stall(Box<StallArgs<'d>>),
}

#[derive(Debug, Default, Serialize)]
pub(super) struct PollArgs {
    /// The poll is in progress.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) ongoing: bool,
    /// The poll is known from its stall only, so it may be longer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) known_from_stall: bool,
    /// The number of polls that the slice stands for, if it is not one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) polls: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct StallArgs<'d> {
    pub(super) finding: &'d str,
    pub(super) task: Cow<'d, str>,
    pub(super) ongoing: bool,
    /// The length, if the slice is shorter. Otherwise the stalls of a finding
    /// differ in nothing but their times: some readers group slices by all
    /// arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seconds: Option<f64>,
    #[serde(flatten)]
    pub(super) of_finding: Option<FindingArgs<'d>>,
}

/// The finding of a stall, with its totals when the trace was made.
#[derive(Debug, Serialize)]
pub(super) struct FindingArgs<'d> {
    pub(super) cause: Cause,
    pub(super) call: Option<Cow<'d, str>>,
    pub(super) site: Option<String>,
    pub(super) evidence: Evidence,
    pub(super) stalls: u64,
    pub(super) total_seconds: f64,
    pub(super) max_seconds: f64,
    pub(super) waits: u64,
    pub(super) waiting_tasks: u64,
    pub(super) delay_seconds: f64,
}
