//! Findings as text: as an event of `tracing`, and as a diagnostic in the style
//! of the Rust compiler.
//!
//! [`ScopeBuilder::on_finding`](crate::ScopeBuilder::on_finding) describes when
//! loopscope reports a finding. A report is
//!
//! * one event of `tracing` with the target `loopscope::blocking` and the level
//!   WARN;
//! * on stderr, a diagnostic at the first report of a finding and one line at
//!   each further one, if [`Terminal`](crate::Terminal) allows it. The
//!   diagnostic's width is that of the environment variable `COLUMNS`, else
//!   that of the terminal, else 120 columns.
//!
//! Log and terminal get at most 20 first reports of findings per minute on
//! average, and at most 20 at once. Further reports have a budget of their own,
//! 5 per minute: so the first report of a finding never waits for those of
//! others. At most a minute after a report was withheld, one warning says how
//! many there were, of how many places, and where all findings are. A finding
//! whose first report was withheld gets it at its next report.
//!
//! Other messages have the target `loopscope`:
//!
//! * at the start of a scope, one event with the level INFO: what is watched,
//!   the threshold, where reports go, and the address of the telemetry. If no
//!   subscriber takes it then, it follows with the first of the checks below;
//! * some seconds after the start, a warning if the scope watches nothing, if
//!   threads of Tokio or actix run an event loop that no scope of the process
//!   watches, or if `--cfg tokio_unstable` is missing. Further checks follow at
//!   growing intervals. A thread counts as one that runs an event loop only if
//!   it has such a name and waits in `epoll_wait`: other threads may do so,
//!   too. On other systems than Linux, threads are not checked;
//! * at the end of a scope that has findings, a warning with their sums and the
//!   five places with the most time.
//!
//! The event of a finding has these fields. A field whose value is not known is
//! absent. A further report of the finding has no `primitive`, `function`,
//! `evidence` and `advice`.
//!
//! | field | value |
//! |---|---|
//! | `cause`, `primitive`, `count`, `advice`, `id` | as in [`Finding`](crate::Finding) |
//! | `file`, `line`, `column`, `function` | as in [`Site`](crate::Site) |
//! | `task` | [`TaskInfo::kind`](crate::TaskInfo::kind) |
//! | `seconds`, `max_seconds`, `ongoing_seconds` | `total`, `max` and `ongoing` of the finding, in seconds with three digits |
//! | `not_own_seconds` | the time of the ended stalls that was not the code's own, in seconds with three digits |
//! | `victim_tasks`, `victim_waits` | `tasks` and `waits` of [`Victims`](crate::Victims) |
//! | `driver_held` | `true` if a stall held the driver of its runtime; else absent |
//! | `evidence` | [`Finding::evidence`](crate::Finding::evidence) |
//! | `suppressed` | the number of reports that were withheld since the previous report |

mod budget;
pub(crate) mod coverage;
#[cfg(feature = "diagnostic")]
mod diagnostic;
mod driver_threads;
pub(crate) mod event;
mod lines;
mod output;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(feature = "diagnostic")]
pub(crate) mod source_line;
#[cfg(feature = "diagnostic")]
mod summary;
#[cfg(feature = "diagnostic")]
mod terminal_width;
pub(crate) mod text;
pub(crate) mod thread;
#[cfg(feature = "diagnostic")]
mod wrap;

#[cfg(feature = "diagnostic")]
pub use diagnostic::diagnostic;
#[cfg(feature = "diagnostic")]
pub use summary::diagnostics;
#[cfg(feature = "diagnostic")]
pub use terminal_width::text_columns;
pub use text::{clean as printable, duration};
#[cfg(feature = "diagnostic")]
pub use wrap::{width, wrapped};
