//! Finds what blocks a Tokio event loop, while it blocks, and says which line of
//! code to move.
//!
//! An async task that calls `std::thread::sleep`, `fsync` or a password hash
//! holds up every other task on its worker. loopscope records how long each
//! poll takes and how long each task waits, and a watchdog thread names the line
//! that blocks while it still does.
//!
//! # Quick start
//! ```
//! loopscope::run(async {
//!     // the application
//! });
//! ```
//! or, by parts, see [`Scope`]. Build with `RUSTFLAGS="--cfg tokio_unstable"` to
//! cover every task without a change to any spawn, and with
//! `debug = "line-tables-only"` in the profile for files and lines.
//!
//! # How it works
//! Hooks of Tokio's write the beginning and the end of each poll into a slot of
//! the worker's own: two readings of the time stamp counter and a few plain
//! stores, no system call, lock, allocation or read-modify-write. The watchdog
//! reads the slots. Once a poll has lasted too long, it asks the kernel what the
//! thread is doing, gets a copy of its stack, and leaves unwinding and symbols
//! to another thread.
//!
//! # Caveats
//! * Stacks are had on Linux only, x86_64 and aarch64; elsewhere a stall is seen and counted,
//!   but not its line.
//! * A call in tail position may be compiled to a jump: its caller is then not
//!   on the stack, and the line shown is that of the caller's caller.
//! * Polls that pass the threshold by less than a quarter may end before the
//!   watchdog looks; they are in the histograms and counted as dropped.
//! * Without `tokio_unstable` a worker is watched from its first park on, tasks
//!   without a name have no kind of their own, and what looks like one long poll
//!   is reported once two looks have met it in the same function.
//! * A thread of a watched runtime may be interrupted by a real-time signal
//!   while it computes, or while it waits in a system call that the kernel
//!   restarts by itself; never in one that would return `EINTR`, as far as the
//!   kernel's word holds from one microsecond to the next.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
// Where stacks cannot be had, some of what reads them has nothing to do.
#![cfg_attr(not(stack_capture), allow(dead_code, unused_imports))]

#[cfg(stack_capture)]
mod capture;
#[cfg(feature = "console")]
pub mod console;
mod diagnose;
mod error;
mod evidence;
mod export;
mod finding;
mod findings;
mod instrument;
mod lock;
mod os;
mod record;
pub mod report;
mod scope;
mod self_metrics;
#[cfg(feature = "serde")]
mod serde_time;
mod settings;
mod snapshot;
mod token_bucket;
mod unix_time;
mod watchdog;

pub use error::StartError;
#[cfg(feature = "prometheus")]
pub use export::metrics::prometheus::Collector;
pub use finding::{
    Cause, Detail, Evidence, FINDINGS_SCHEMA, Finding, FindingsDocument, Frame, FrameKind, ProcessInfo,
    STALLS_SCHEMA, Site, Split, Stall, StallsDocument, Starved, TaskInfo, Victims,
};
pub use instrument::canary::Canary;
pub use instrument::future::{Instrumented, LARGE_FUTURE, Named};
pub use instrument::hooks::Hooks;
pub use instrument::spawn::{spawn, spawn_blocking, spawn_local};
pub use scope::Scope;
pub use scope::builder::Builder;
pub use scope::run::run;
pub use settings::{Signals, Terminal};
pub use snapshot::{
    BlockingCallSnapshot, CauseSnapshot, HistogramSnapshot, KindSnapshot, LoopLagSnapshot, ObserverSnapshot,
    PressureSnapshot, RuntimeSnapshot, Snapshot, WorkerSnapshot,
};

/// The README's programs compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
