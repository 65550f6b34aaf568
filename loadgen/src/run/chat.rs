//! The driver for the chat protocol.

use std::sync::Arc;

use super::driver::Driver;
use super::fleet::Fleet;
use super::{Progress, Stop, churn, reconcile};
use crate::irc::{ChatOutlet, Member};
use crate::net::Connector;
use crate::record::{Recorder, RunState};

/// The chat clients of a run.
#[derive(Debug)]
pub(crate) struct ChatDriver {
    state: Arc<RunState>,
    connector: Connector,
    fleet: Fleet,
    members: Vec<Member>,
}

impl ChatDriver {
    /// Starts the clients.
    pub(crate) fn launch(state: &Arc<RunState>, connector: Connector) -> Self {
        let fleet = Fleet::launch(state, &connector);
        Self { state: Arc::clone(state), connector, fleet, members: Vec::new() }
    }
}

impl Driver for ChatDriver {
    type Outlet = ChatOutlet;

    async fn wait_until_ready(&mut self, stop: &mut Stop, progress: &mut Progress) -> usize {
        self.members = self.fleet.wait_until_joined(stop, progress).await;
        self.members.len()
    }

    fn outlet(&self) -> ChatOutlet {
        ChatOutlet::new(&self.state, self.members.clone())
    }

    async fn run_visitors(&self) {
        churn::churn(Arc::clone(&self.state), self.connector.clone()).await;
    }

    async fn finish(self, planned: u64, end_ns: u64) -> Recorder {
        let inboxes = self.fleet.disconnect().await;
        let mut received = self.state.total_at_end();
        reconcile::reconcile(&self.state, &self.members, &inboxes, planned, end_ns, &mut received);
        received
    }
}
