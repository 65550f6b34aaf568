//! Recording: slots and histograms that each worker writes for itself, summed
//! as they are read. Knows neither the watchdog nor any exporter.

mod bells;
mod calls;
pub(crate) mod clock;
pub(crate) mod current;
mod doze;
pub(crate) mod events;
mod flight;
mod histogram;
mod kinds;
#[cfg(tokio_unstable)]
mod locations;
mod recorder;
mod replaced;
mod runtimes;
pub(crate) mod seat;
pub(crate) mod slot;
mod snapshot;
mod sync;
mod watched;
pub(crate) mod worker;

pub(crate) use bells::Bell;
pub(crate) use flight::FlightPoll;
pub(crate) use histogram::{Carried, Histogram};
pub(crate) use kinds::KindId;
pub(crate) use recorder::Recorder;
pub(crate) use replaced::Hook;
pub use snapshot::{
    BlockingCallSnapshot, CauseSnapshot, HistogramSnapshot, KindSnapshot, LoopLagSnapshot, ObserverSnapshot,
    PressureSnapshot, RuntimeSnapshot, Snapshot, WorkerSnapshot,
};
pub(crate) use watched::Watched;
