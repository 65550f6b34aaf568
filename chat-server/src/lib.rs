//! An IRC chat server on Tokio, watched by loopscope: right by default, wrong on demand.
//!
//! Thousands of clients on a few threads. Everything in it that could block the event loop is done right;
//! `--inject` turns one place into the mistake that people really make (`inject/` has each as a pair).
//!
//! How a line flows: `session` reads it, `services` checks it, `hub` decides and hands buffers to the
//! `outbox` of everybody who gets to read it, and the writing half of their sessions sends them.
#![forbid(unsafe_code)]

mod app;
mod args;
mod client_limits;
mod config;
mod config_error;
mod config_file;
mod data_dir;
mod descriptors;
mod hub;
mod inject;
mod irc;
mod logging;
mod metrics;
mod outbox;
mod server;
mod services;
mod session;
mod signals;
mod write_coalescing;

pub use app::{main_with, serve};
pub use args::Args;
pub use client_limits::ClientLimits;
pub use config::Config;
pub use config_error::ConfigError;
