//! The driver for the chat protocol.

use std::sync::Arc;

use super::driver::{Driver, FinalReceipts};
use super::fleet::{Fleet, QUIT_TIMEOUT};
use super::storm::StormClients;
use super::{Progress, Stop, churn, reconcile};
use crate::irc::{ChatOutlet, Member};
use crate::net::Connector;
use crate::record::RunState;

/// The chat clients of a run.
#[derive(Debug)]
pub(crate) struct ChatDriver {
    state: Arc<RunState>,
    visitor_connector: Connector,
    fleet: Fleet,
    members: Vec<Member>,
    storm: Option<StormClients>,
}

impl ChatDriver {
    /// Starts the clients.
    ///
    /// # Errors
    ///
    /// If the thread of the storms cannot be started.
    pub(crate) fn launch(
        state: &Arc<RunState>,
        connector: &Connector,
        visitor_connector: Connector,
    ) -> std::io::Result<Self> {
        let storm = StormClients::launch(state, connector)?;
        let fleet = Fleet::launch(state, connector);
        Ok(Self { state: Arc::clone(state), visitor_connector, fleet, members: Vec::new(), storm })
    }
}

impl Driver for ChatDriver {
    type Outlet = ChatOutlet;

    async fn wait_until_ready(&mut self, stop: &mut Stop, progress: &mut Progress) -> usize {
        self.members = self.fleet.wait_until_joined(stop, progress).await;
        let failed = match &mut self.storm {
            Some(storm) if self.members.len() >= self.state.plan.required_connections() => {
                storm.wait_until_connected(stop).await
            }
            _ => 0,
        };
        self.members.len().saturating_sub(failed)
    }

    fn outlet(&self) -> ChatOutlet {
        ChatOutlet::new(&self.state, self.members.clone())
    }

    async fn run_visitors(&self) {
        let storms = async {
            match &self.storm {
                Some(storm) => storm.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(churn::churn(Arc::clone(&self.state), self.visitor_connector.clone()), storms);
    }

    async fn finish(self, planned: u64, end_ns: u64) -> FinalReceipts {
        if let Some(storm) = self.storm {
            storm.finish().await;
        }
        let inboxes = self.fleet.disconnect(QUIT_TIMEOUT).await;
        let members: Vec<_> = self.members.iter().map(|member| member.id).collect();
        let unreported_clients = members.iter().filter(|&&member| inboxes[member].is_none()).count();
        let mut received = self.state.total_at_end();
        reconcile::reconcile(&self.state, &members, &inboxes, planned, end_ns, &mut received);
        FinalReceipts { received, unreported_clients }
    }
}
