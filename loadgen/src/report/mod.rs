//! What is handed out in the end: plain data, a verdict on it, and its text.

mod document;
mod html;
mod read;
pub(crate) mod text;
mod verdict;

pub(crate) use document::{
    Blocking, Clock, CommandCount, Commands, Connections, Coverage, Deliveries, Generator, Histograms, Load,
    LoadTimeline, Minimal, Program, Report, Rooms, RunOutcome, SCHEMA, Settings, Share, SpectrumPoint,
    StageLoad, Tail, TaskPolls, TimelineBin, Timing, Visitors, decode, encode,
};
pub(crate) use html::html;
pub(crate) use read::{parse, read, read_whole};
pub(crate) use text::{place, text};
pub(crate) use verdict::{died, judge, quantile_seconds, verdict};
