//! Findings as text: as an event of `tracing`, and as a diagnostic in the style
//! of the Rust compiler.

#[cfg(feature = "diagnostic")]
mod diagnostic;
pub(crate) mod event;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(feature = "diagnostic")]
pub(crate) mod source_line;
#[cfg(feature = "diagnostic")]
mod summary;
pub(crate) mod text;
pub(crate) mod thread;

#[cfg(feature = "diagnostic")]
pub use diagnostic::diagnostic;
#[cfg(feature = "diagnostic")]
pub use summary::diagnostics;
pub use text::duration;
