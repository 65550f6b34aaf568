//! Recording. Each worker writes its own slot and histograms; a reader adds
//! them up. This module depends neither on the watchdog nor on any exporter.

pub(crate) mod blocking_calls;
pub(crate) mod clock;
pub(crate) mod current;
mod ended;
#[cfg(tokio_unstable)]
pub(crate) mod fast_poll;
pub(crate) mod flight_recorder;
mod flight_recording;
pub(crate) mod histogram;
pub(crate) mod hook_status;
pub(crate) mod idle_park;
pub(crate) mod kinds;
#[cfg(tokio_unstable)]
mod known_locations;
pub(crate) mod level;
pub(crate) mod live_recorders;
pub(crate) mod liveness;
pub(crate) mod long_events;
pub(crate) mod loop_lag;
mod partial_polls;
pub(crate) mod poll_stack;
pub(crate) mod polls_in_progress;
pub(crate) mod recorder;
pub(crate) mod runtimes;
mod single_writer;
pub(crate) mod slot;
mod static_keys;
mod sync;
mod time_stamp_counter;
mod totals;
pub(crate) mod worker;
mod workers;
