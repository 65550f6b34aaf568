//! HTTP/1.1, as a client speaks it.

mod client;
mod outlet;
mod page;

pub(crate) use client::WebClient;
pub(crate) use outlet::WebOutlet;
pub(crate) use page::PageConnection;
