//! Recording: slots and histograms that each worker writes for itself, summed
//! as they are read. Knows neither the watchdog nor any exporter.

pub(crate) mod clock;
pub(crate) mod current;
mod doze;
pub(crate) mod events;
mod histogram;
mod kinds;
#[cfg(tokio_unstable)]
mod locations;
mod recorder;
mod runtimes;
pub(crate) mod slot;
mod snapshot;
pub(crate) mod worker;

pub(crate) use histogram::Histogram;
pub(crate) use kinds::KindId;
pub(crate) use recorder::Recorder;
pub use snapshot::{
    CauseSnapshot, HistogramSnapshot, KindSnapshot, ObserverSnapshot, RuntimeSnapshot, Snapshot,
    WorkerSnapshot,
};
