//! An IRC chat server on Tokio, monitored by loopscope. It never blocks its
//! event loop, unless a flag asks for it.
//!
//! The server handles thousands of clients on a few threads. `--inject`
//! replaces one of its operations with a common mistake that blocks the event
//! loop. Each mistake is next to the right code in `services/`.
//!
//! The path of a line: `session` reads it. `services` does the work that its
//! command needs before the hub, such as a password check. `hub` handles the
//! command and pushes buffers to the `outbox` of each receiver. The writing
//! half of the receiver's session sends them.
#![forbid(unsafe_code)]

mod account_command;
mod account_policy;
mod app;
mod args;
mod bounded_file;
mod client_limits;
mod client_timers;
mod config;
mod config_error;
mod config_file;
mod data_dir;
mod descriptors;
mod handshake_metrics;
mod hub;
mod inject;
mod irc;
mod listeners;
mod logging;
mod metrics;
mod outbox;
mod server;
mod services;
mod session;
mod signals;
mod tls;
mod transport;
mod write_coalescing;

pub use app::{main_with, serve};
pub use args::{AccountCommand, Args, ArgsCommand};
pub use client_limits::ClientLimits;
pub use config::Config;
pub use config_error::ConfigError;
pub use listeners::Listeners;
