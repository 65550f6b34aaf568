//! The metric catalogue and its outputs: Prometheus' text format and data
//! model, the facade of the `metrics` crate, and the series of tokio-metrics.

#[cfg(feature = "telemetry")]
mod application;
pub(crate) mod buckets;
pub(crate) mod catalogue;
#[cfg(feature = "telemetry")]
pub(crate) mod exemplars;
#[cfg(feature = "metrics")]
pub(crate) mod facade;
pub(crate) mod families;
#[cfg(feature = "telemetry")]
pub(crate) mod gather;
#[cfg(feature = "prometheus")]
pub(crate) mod prometheus;
#[cfg(feature = "telemetry")]
pub(crate) mod text;
#[cfg(feature = "tokio-metrics")]
pub(crate) mod tokio_series;
