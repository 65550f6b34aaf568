//! The driver of the chat protocol.

use std::net::SocketAddr;
use std::sync::Arc;

use super::driver::Driver;
use super::fleet::Fleet;
use super::{Progress, Stop, churn, reconcile};
use crate::irc::{ChatOutlet, Member};
use crate::record::{Recorder, Shared};

/// A fleet of chat clients.
#[derive(Debug)]
pub(crate) struct Chat {
    shared: Arc<Shared>,
    address: SocketAddr,
    fleet: Fleet,
    members: Vec<Member>,
}

impl Chat {
    /// Sends the clients out.
    pub(crate) fn launch(shared: &Arc<Shared>, address: SocketAddr) -> Self {
        let fleet = Fleet::launch(shared, address);
        Self { shared: Arc::clone(shared), address, fleet, members: Vec::new() }
    }
}

impl Driver for Chat {
    type Outlet = ChatOutlet;

    async fn assemble(&mut self, stop: &mut Stop, progress: &mut Progress) -> usize {
        self.members = self.fleet.assemble(stop, progress).await;
        self.members.len()
    }

    fn outlet(&self) -> ChatOutlet {
        ChatOutlet::new(&self.shared, self.members.clone())
    }

    async fn meanwhile(&self) {
        churn::churn(Arc::clone(&self.shared), self.address).await;
    }

    async fn disband(self, planned: u64, end_ns: u64) -> Recorder {
        let inboxes = self.fleet.disband().await;
        let mut received = self.shared.settle();
        reconcile::reckon(&self.shared, &self.members, &inboxes, planned, end_ns, &mut received);
        received
    }
}
