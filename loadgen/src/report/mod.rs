//! What is handed out in the end: plain data, a verdict on it, and its text.

mod document;
mod html;
mod read;
pub(crate) mod text;
mod verdict;

pub(crate) use document::{
    Bin, Blocking, Clock, CommandCount, Commands, Connections, Coverage, Deliveries, Generator, Histograms,
    Load, Minimal, Outcome, Point, Program, Report, Rooms, SCHEMA, Settings, Share, StageLoad, Tail,
    TaskPolls, Timeline, Timing, Visitors, decode, encode,
};
pub(crate) use html::html;
pub(crate) use read::{parse, read, read_whole};
pub(crate) use text::{place, text};
pub(crate) use verdict::{at, died, judge, verdict};
