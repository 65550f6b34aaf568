//! The metric catalogue and its transports: Prometheus' text and protobuf data
//! model, the facade of the `metrics` crate, tokio-metrics' series.

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
