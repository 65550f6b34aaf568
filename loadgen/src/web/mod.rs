//! The client side of HTTP.

mod answer;
mod client;
mod http1;
mod http2;
mod outlet;
mod page;
mod page_source;

pub(crate) use client::WebClient;
pub(crate) use http2::Http2Stream;
pub(crate) use outlet::WebOutlet;
pub(crate) use page::PageConnection;
pub(crate) use page_source::PageSource;
