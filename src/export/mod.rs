//! Snapshots and findings for machines: metrics, HTTP and file formats.
//!
//! Rendering is a function of plain data. Who asks for it, and over which
//! transport, is the business of `http` and of the metrics registries.

#[cfg(all(test, any(feature = "metrics", feature = "prometheus")))]
mod fake;
#[cfg(feature = "telemetry")]
pub(crate) mod formats;
#[cfg(feature = "telemetry")]
pub(crate) mod http;
#[cfg(any(feature = "metrics", feature = "prometheus"))]
pub(crate) mod metrics;
pub(crate) mod source;
