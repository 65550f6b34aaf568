//! Snapshots and findings for machines: Prometheus and HTTP.
//!
//! Rendering is a function of plain data (`families`, `page`); who asks for it
//! and over what wire is elsewhere (`prometheus`, `routes`, `serve`).

#[cfg(any(feature = "metrics", feature = "prometheus"))]
mod buckets;
#[cfg(any(feature = "metrics", feature = "prometheus"))]
mod catalogue;
#[cfg(feature = "telemetry")]
mod exemplars;
#[cfg(feature = "metrics")]
pub(crate) mod facade;
#[cfg(all(test, any(feature = "metrics", feature = "prometheus")))]
mod fake;
#[cfg(any(feature = "metrics", feature = "prometheus"))]
mod families;
#[cfg(feature = "telemetry")]
mod findings;
#[cfg(feature = "telemetry")]
mod gather;
#[cfg(feature = "telemetry")]
mod guard;
#[cfg(feature = "telemetry")]
mod live;
#[cfg(feature = "telemetry")]
mod page;
#[cfg(feature = "telemetry")]
mod pprof;
#[cfg(feature = "telemetry")]
mod profile;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "telemetry")]
mod routes;
#[cfg(feature = "telemetry")]
mod sarif;
#[cfg(feature = "telemetry")]
mod serve;
#[cfg(feature = "telemetry")]
pub(crate) mod telemetry;
#[cfg(feature = "telemetry")]
mod text;
#[cfg(feature = "tokio-metrics")]
mod tokio_series;
#[cfg(feature = "telemetry")]
mod trace;

#[cfg(feature = "prometheus")]
pub use self::prometheus::Collector;
