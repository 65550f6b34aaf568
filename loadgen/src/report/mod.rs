//! What is handed out in the end: plain data, a verdict on it, and its text.

mod document;
mod text;
pub(crate) mod units;
mod verdict;

pub(crate) use document::{
    CommandCount, Commands, Connections, Deliveries, Load, Report, SCHEMA, Settings, Timing,
};
pub(crate) use text::text;
pub(crate) use verdict::{judge, verdict};
