//! The report of a run: plain data, the verdict, and both as text and HTML.

mod document;
mod html;
mod read;
pub(crate) mod text;
mod verdict;

pub(crate) use document::{
    Blocking, Clock, CommandCount, Commands, Connections, Coverage, Deliveries, Generator, Histograms, Load,
    LoadTimeline, LoginHistograms, Logins, MAX_NAMED_CHANNELS, MinimalLoad, Program, Report, Rooms,
    RunOutcome, SCHEMA, Settings, Share, SpectrumPoint, StageLoad, Storms, Tail, TaskPolls, TimelineBin,
    Timing, Visitors, decode, encode,
};
pub(crate) use html::html;
pub(crate) use read::{parse, read, read_whole};
pub(crate) use text::{place, text};
pub(crate) use verdict::{judge, quantile_seconds, server_died, verdict};
