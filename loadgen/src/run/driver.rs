//! The interface between a run and its protocol.

use super::{Progress, Stop};
use crate::outlet::Outlet;
use crate::record::Recorder;

/// What the clients of a run have received.
#[derive(Debug)]
pub(crate) struct FinalReceipts {
    /// The received and the lost deliveries.
    pub(crate) received: Recorder,
    /// Clients that did not report in time which messages they have received.
    /// It is unknown what they lost.
    pub(crate) unreported_clients: usize,
}

/// The clients of one protocol.
pub(crate) trait Driver: Sized {
    /// The outlet that sends for the clients.
    type Outlet: Outlet;

    /// Waits until every client is ready or has failed, or too many have
    /// failed. Returns how many are ready.
    async fn wait_until_ready(&mut self, stop: &mut Stop, progress: &mut Progress) -> usize;

    /// Returns the outlet that sends for the clients that are ready.
    fn outlet(&self) -> Self::Outlet;

    /// Runs the visitors during the measurement, until the caller drops this
    /// future. A protocol without visitors waits forever.
    async fn run_visitors(&self);

    /// Disconnects all clients. Returns the received and the lost deliveries of
    /// the first `planned` commands. A delivery that has not arrived is
    /// lost; the generator waited for it until `end_ns`.
    async fn finish(self, planned: u64, end_ns: u64) -> FinalReceipts;
}
