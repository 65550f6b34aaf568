//! The driver of HTTP/1.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::driver::Driver;
use super::{Progress, Stop};
use crate::plan::{Due, Target};
use crate::record::{Failure, Recorder, Shared};
use crate::web::{Client, Page, WebOutlet};

/// How many requests may wait for a free connection; what is due on top is
/// skipped, so that a stalled target cannot make the generator grow.
const MAX_WAITING: usize = 100_000;

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A pool of connections, each a task of its own.
#[derive(Debug)]
pub(crate) struct Web {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
    arrivals: mpsc::Receiver<bool>,
    queue: Sender<Due>,
    waiting: Receiver<Due>,
}

impl Web {
    /// Opens the connections, spread over the plan's ramp.
    pub(crate) fn launch(shared: &Arc<Shared>, target: &Target, address: SocketAddr) -> Self {
        let plan = &shared.plan;
        let (queue, waiting) = async_channel::bounded(MAX_WAITING);
        let (arrived, arrivals) = mpsc::channel(plan.connections);
        let mut clients = JoinSet::new();
        let begin = Instant::now();
        for id in 0..plan.connections {
            let at = begin + plan.connects_after(id);
            let page = page(target, address, id);
            let client = attend(Arc::clone(shared), id, page, waiting.clone(), at, arrived.clone());
            clients.spawn(client);
        }
        Self { shared: Arc::clone(shared), clients, arrivals, queue, waiting }
    }
}

impl Driver for Web {
    type Outlet = WebOutlet;

    async fn assemble(&mut self, stop: &mut Stop, progress: &mut Progress) -> usize {
        let all = self.shared.plan.connections;
        let allowed = all - self.shared.plan.required_connections();
        let (mut ready, mut failed) = (0, 0);
        let mut look = tokio::time::interval(LOOK);
        while ready + failed < all && failed <= allowed {
            tokio::select! {
                arrival = self.arrivals.recv() => match arrival {
                    Some(true) => ready += 1,
                    Some(false) => failed += 1,
                    None => break,
                },
                _ = look.tick() => progress.show("connecting", &self.shared),
                () = stop.wait() => break,
            }
        }
        ready
    }

    fn outlet(&self) -> WebOutlet {
        WebOutlet::new(self.queue.clone(), self.shared.plan.connections)
    }

    async fn meanwhile(&self) {
        std::future::pending().await
    }

    async fn disband(mut self, _planned: u64, end_ns: u64) -> Recorder {
        self.clients.shutdown().await;
        while let Ok(due) = self.waiting.try_recv() {
            self.shared.on_request_lost(0, due.at_ns, end_ns);
        }
        self.shared.settle()
    }
}

fn page(target: &Target, address: SocketAddr, id: usize) -> Page {
    let (host, path) = match target {
        Target::Web { host, path, .. } => (host.clone(), path.clone()),
        Target::Chat { address } => (address.clone(), "/".to_owned()),
    };
    Page::new(address, host, path, id)
}

async fn attend(
    shared: Arc<Shared>,
    id: usize,
    page: Page,
    waiting: Receiver<Due>,
    at: Instant,
    arrived: mpsc::Sender<bool>,
) {
    sleep_until(at).await;
    let limit = shared.plan.timeout;
    let opened = timeout(limit, Client::open(&shared, id, page, waiting)).await.unwrap_or_else(|_elapsed| {
        let limit = humantime::format_duration(limit);
        Err(Failure::timeout(format!("the target let a client wait for more than {limit}")))
    });
    match opened {
        Ok(mut client) => {
            let _ = arrived.send(true).await;
            client.work().await;
        }
        Err(failure) => {
            shared.failures.count(&failure);
            let _ = arrived.send(false).await;
        }
    }
}
