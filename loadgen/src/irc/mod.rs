//! The client side of the IRC protocol.

mod command;
mod lines;
mod link;
mod message;
mod outlet;
mod sasl;
mod session;
mod socket;

pub(crate) use outlet::ChatOutlet;
pub(crate) use session::{Member, Session};
