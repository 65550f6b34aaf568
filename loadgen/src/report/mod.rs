//! What is handed out in the end: plain data, a verdict on it, and its text.

mod clock;
mod coverage;
mod coverage_text;
mod document;
mod histograms;
mod html;
mod minimal;
mod program;
mod tail;
mod tail_text;
mod text;
pub(crate) mod units;
mod verdict;

pub(crate) use clock::Clock;
pub(crate) use coverage::{Coverage, TaskPolls};
pub(crate) use document::{
    Bin, Blocking, CommandCount, Commands, Connections, Deliveries, Generator, Load, Outcome, Point, Report,
    Rooms, SCHEMA, Settings, StageLoad, Timeline, Timing, Visitors,
};
pub(crate) use histograms::{Histograms, decode, encode};
pub(crate) use html::html;
pub(crate) use minimal::Minimal;
pub(crate) use program::Program;
pub(crate) use tail::{Share, Tail};
pub(crate) use tail_text::place;
pub(crate) use text::text;
pub(crate) use verdict::{at, died, judge, verdict};
