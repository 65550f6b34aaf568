//! The client side of HTTP/1.1.

mod client;
mod outlet;
mod page;

pub(crate) use client::WebClient;
pub(crate) use outlet::WebOutlet;
pub(crate) use page::PageConnection;
