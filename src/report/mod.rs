//! Findings as text: as an event of `tracing`, and as a diagnostic in the style
//! of the Rust compiler.
//!
//! [`ScopeBuilder::on_finding`](crate::ScopeBuilder::on_finding) describes when
//! loopscope reports a finding. Log and terminal get at most five reports per
//! minute on average, and at most five at once; each report has the number of
//! those suppressed before it. A report is
//!
//! * one event of `tracing` with the target `loopscope::blocking` and the level
//!   WARN;
//! * a diagnostic on stderr, if [`Terminal`](crate::Terminal) allows it. Its
//!   width is that of the environment variable `COLUMNS`, else that of the
//!   terminal, else 120 columns.
//!
//! The event has these fields. A field whose value is not known is absent.
//!
//! | field | value |
//! |---|---|
//! | `cause`, `primitive`, `count`, `advice`, `id` | as in [`Finding`](crate::Finding) |
//! | `file`, `line`, `column`, `function` | as in [`Site`](crate::Site) |
//! | `task` | [`TaskInfo::kind`](crate::TaskInfo::kind) |
//! | `seconds`, `max_seconds`, `ongoing_seconds` | `total`, `max` and `ongoing` of the finding, in seconds with three digits |
//! | `victim_tasks`, `victim_waits` | `tasks` and `waits` of [`Victims`](crate::Victims) |
//! | `driver_held` | `true` if a stall held the driver of its runtime; else absent |
//! | `evidence` | [`Finding::evidence`](crate::Finding::evidence) |
//! | `suppressed` | the number of reports that the rate limit suppressed since the previous one |

#[cfg(feature = "diagnostic")]
mod diagnostic;
pub(crate) mod event;
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
pub use text::duration;
