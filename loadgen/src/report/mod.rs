//! What is handed out in the end: plain data, a verdict on it, and its text.

mod document;
mod html;
mod text;
pub(crate) mod units;
mod verdict;

pub(crate) use document::{
    Bin, Blocking, CommandCount, Commands, Connections, Generator, Load, Point, Report, Rooms, SCHEMA,
    Settings, StageLoad, Timeline, Timing,
};
pub(crate) use html::html;
pub(crate) use text::text;
pub(crate) use verdict::{judge, verdict};
