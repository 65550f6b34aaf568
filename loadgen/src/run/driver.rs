//! The seam between a run and the protocol that it speaks.

use super::pacer::Outlet;
use super::{Progress, Stop};
use crate::record::Recorder;

/// The clients of one protocol, from connecting to the last account.
pub(crate) trait Driver: Sized {
    /// What sends for them.
    type Outlet: Outlet;

    /// Waits until every client is ready or has failed, or it is clear that
    /// too few will be. How many are.
    async fn wait_until_ready(&mut self, stop: &mut Stop, progress: &mut Progress) -> usize;

    /// What sends for those who are ready.
    fn outlet(&self) -> Self::Outlet;

    /// What else goes on while it is measured; dropped at the end.
    async fn run_visitors(&self);

    /// Calls everybody home. What was received, with every delivery among the
    /// first `planned` commands either delivered or lost by `end_ns`.
    async fn finish(self, planned: u64, end_ns: u64) -> Recorder;
}
