//! The chat protocol, as a client speaks it.

mod command;
mod lines;
mod link;
mod message;
mod outlet;
mod payload;
mod session;

pub(crate) use outlet::ChatOutlet;
pub(crate) use payload::Payload;
pub(crate) use session::{Member, Session};
