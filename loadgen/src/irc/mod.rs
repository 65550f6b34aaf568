//! The chat protocol, as a client speaks it.

mod command;
mod lines;
mod link;
mod message;
mod payload;
mod session;

pub(crate) use command::Commands;
pub(crate) use link::Sent;
pub(crate) use session::{Member, Session};
