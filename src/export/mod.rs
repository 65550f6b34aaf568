//! Exports snapshots and findings: metrics, HTTP and file formats.
//!
//! Rendering is a function of plain data and does not depend on the transport.
//! The transports are `http` and the registries of metrics.

#[cfg(all(test, any(feature = "metrics", feature = "prometheus")))]
mod fake;
#[cfg(feature = "telemetry")]
pub(crate) mod formats;
#[cfg(feature = "telemetry")]
pub(crate) mod http;
#[cfg(any(feature = "metrics", feature = "prometheus"))]
pub(crate) mod metrics;
pub(crate) mod source;
