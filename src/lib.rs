//! Finds the calls that block a Tokio event loop, while they block, and names
//! the line of code to move.
//!
//! A task that calls `std::thread::sleep`, `fsync` or a password hash delays
//! every other task on its worker. loopscope records how long each poll takes
//! and how long each task waits to be polled. While a poll blocks its worker, a
//! watchdog thread captures the worker's stack and finds the line.
//!
//! # Quick start
//!
//! ```
//! # #[cfg(feature = "macros")]
//! #[loopscope::main]
//! async fn main() {
//!     // the application
//! }
//! # #[cfg(not(feature = "macros"))]
//! # fn main() {}
//! ```
//!
//! The attribute takes the place of `#[tokio::main]`: it builds a runtime and
//! reports to stderr and to `tracing`. [`ScopeBuilder::run`] is the same as a
//! function. [`Scope`] records the polls of a runtime that the application
//! builds.
//!
//! Build with `RUSTFLAGS="--cfg tokio_unstable"` to record the polls of every
//! task, without a change to any spawn. Set `debug = "line-tables-only"` in the
//! profile to see files and lines; without it, a finding names functions only.
//!
//! The application needs Tokio 1.54 and Rust 1.92, or later.
//!
//! # Design
//!
//! Tokio's hooks write the start and the end of each poll into a slot that
//! belongs to the worker. That costs two reads of the time stamp counter and a
//! few plain stores: no system call, lock, allocation or atomic
//! read-modify-write.
//!
//! The watchdog thread reads the slots. When a poll has lasted too long, it
//! asks the kernel what the thread is doing and gets a copy of its stack.
//! Another thread unwinds the stack, reads the symbols and reports a
//! [`Finding`].
//!
//! When a thread is ready to run but has no CPU, the machine is the cause, not
//! the code. That time does not count towards the threshold; it is counted as
//! [`Starved`].
//!
//! # Caveats
//!
//! * Stack traces are available on Linux (x86_64, aarch64). Elsewhere a stall
//!   is detected and counted, but its source line is unknown.
//! * The compiler may turn a call in tail position into a jump. The caller is
//!   then not on the stack. Its line is found from the code where only one jump
//!   leads to the called function, and is marked as [`Site::recovered`].
//!   Otherwise the finding shows the line of the caller's caller.
//! * A poll that exceeds the threshold by less than a quarter may end before
//!   the watchdog takes its next sample. It is in the histograms of its task.
//!   As a stall it has no stack of its own, and counts only if the thread's CPU
//!   times prove it. If these cannot be read, it counts as dropped.
//! * Without `tokio_unstable`, a worker is watched from its first park on.
//!   Tasks without a name share one kind. A poll of such a task is reported
//!   only after two consecutive captures show the same function, because what
//!   looks like one long poll may be several.
//! * loopscope may send a real-time signal to a thread of a watched runtime
//!   while the thread computes, or while it waits in a system call that the
//!   kernel restarts by itself. By default it avoids calls that would return
//!   `EINTR`, but a thread may enter one in the microseconds between the check
//!   and the signal. [`Signals::Never`] turns signals off.
//! * The signal is the highest one without a handler, usually 64. gdb stops at
//!   it without the command `handle SIG64 nostop noprint pass`.
//!   [`ObserverSnapshot::capture_signal`] is its number.
//! * A scope does not watch a forked child of its process. The child says so
//!   once and can start a scope of its own.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `macros` (default) | the attribute [`main`] |
//! | `diagnostic` (default) | findings on the terminal in the style of the Rust compiler |
//! | `serde` | `Serialize` and `Deserialize` for findings, stalls and their documents |
//! | `prometheus` | a collector for the application's own Prometheus registry |
//! | `telemetry` | a thread that serves a live page, metrics, findings, profiles and traces over HTTP; enables `attach`, `diagnostic` and `prometheus` |
//! | `metrics` | the same metrics for the recorder of the `metrics` crate |
//! | `tokio-metrics` | the `RuntimeMonitor` of tokio-metrics as `tokio_*` metrics; enables `prometheus` |
//! | `hdrhistogram` | [`HistogramSnapshot::to_hdrhistogram`](HistogramSnapshot) |
//! | `compressed-debug-info` | lines where the linker has compressed the debug information |
//! | `attach` | [`attach`]: what another Tokio process does, which was built without loopscope, or this one (Linux); enables `serde` |
//! | `console` | tokio-console's layer; needs `--cfg tokio_unstable` |
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]
// On targets without stack capture, some of the code that reads stacks is
// unused.
#![cfg_attr(not(stack_capture), allow(dead_code, unused_imports))]

#[cfg(all(feature = "attach", stack_capture))]
pub mod attach;
#[cfg(stack_capture)]
mod build_id;
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
mod fork;
#[cfg(all(feature = "attach", stack_capture))]
mod futures;
mod instrument;
#[cfg(all(feature = "attach", stack_capture))]
mod jump;
#[cfg(stack_capture)]
mod little_endian;
mod lock;
mod os;
mod outbox;
mod owned_thread;
mod per_process;
mod process;
mod record;
mod recording;
pub mod report;
mod scope;
mod self_metrics;
#[cfg(feature = "serde")]
mod serde_time;
mod settings;
mod signal_mask;
mod snapshot;
mod source_path;
mod stable_hash;
mod stderr;
#[cfg(all(feature = "attach", stack_capture))]
mod tasks;
#[cfg(all(feature = "attach", stack_capture))]
mod threads;
mod token_bucket;
#[cfg_attr(not(feature = "serde"), allow(dead_code))]
mod unix_time;
mod watchdog;
mod zeroed;

pub use error::StartError;
#[cfg(feature = "prometheus")]
pub use export::metrics::prometheus::Collector;
pub use finding::{
    Cause, Detail, Evidence, FINDINGS_SCHEMA, Finding, FindingsDocument, Frame, FrameKind, ProcessInfo,
    STALLS_SCHEMA, Site, Split, Stall, StallsDocument, Starved, TaskInfo, TaskShare, Victims,
};
pub use instrument::canary::Canary;
pub use instrument::future::{LARGE_FUTURE_BYTES, Named, NamedFuture};
pub use instrument::hooks::Hooks;
pub use instrument::spawn::{spawn, spawn_blocking, spawn_local};
#[cfg(feature = "macros")]
pub use loopscope_macros::main;
pub use recording::Recording;
pub use scope::Scope;
pub use scope::builder::ScopeBuilder;
pub use scope::run::run;
pub use settings::{Signals, Terminal};
pub use snapshot::{
    BlockingCallSnapshot, CauseSnapshot, HistogramSnapshot, KindSnapshot, LoopLagSnapshot, ObserverSnapshot,
    PressureSnapshot, RuntimeSnapshot, Snapshot, WorkerSnapshot,
};
/// The version of Tokio that loopscope watches.
#[doc(no_inline)]
pub use tokio;

/// Compiles the programs in the documents as doc tests.
#[cfg(all(doctest, feature = "macros"))]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/frameworks.md")]
struct Documents;
