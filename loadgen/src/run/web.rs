//! The driver for HTTP.

use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::driver::{Driver, FinalReceipts};
use super::{Progress, Stop};
use crate::net::Connector;
use crate::plan::{Due, Target};
use crate::record::{Failure, RunState};
use crate::web::{Http2Stream, PageConnection, PageSource, WebClient, WebOutlet};

/// Maximum number of requests that wait for a free connection. Further requests
/// are skipped, so that the generator's memory stays bounded if the target
/// stalls.
const MAX_QUEUED_REQUESTS: usize = 100_000;

/// Time between two updates of the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// A pool of connections; each one is a task.
#[derive(Debug)]
pub(crate) struct WebDriver {
    state: Arc<RunState>,
    clients: JoinSet<()>,
    /// One value for each connection: whether it could be opened.
    opened: mpsc::Receiver<bool>,
    queue: Sender<Due>,
    queued: Receiver<Due>,
}

impl WebDriver {
    /// Opens the connections, spread over the plan's ramp.
    pub(crate) fn launch(state: &Arc<RunState>, target: &Target, connector: &Connector) -> Self {
        let plan = &state.plan;
        let (queue, queued) = async_channel::bounded(MAX_QUEUED_REQUESTS);
        let (opened_sender, opened) = mpsc::channel(plan.connections);
        let mut clients = JoinSet::new();
        let begin = Instant::now();
        for id in 0..plan.connections {
            let at = begin + plan.connect_delay(id);
            let page = page(state, target, connector, id);
            let client = run_client(Arc::clone(state), id, page, queued.clone(), at, opened_sender.clone());
            clients.spawn(client);
        }
        Self { state: Arc::clone(state), clients, opened, queue, queued }
    }
}

impl Driver for WebDriver {
    type Outlet = WebOutlet;

    async fn wait_until_ready(&mut self, stop: &mut Stop, progress: &mut Progress) -> usize {
        let all = self.state.plan.connections;
        let allowed = all - self.state.plan.required_connections();
        let (mut ready, mut failed) = (0, 0);
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        while ready + failed < all && failed <= allowed {
            tokio::select! {
                opened = self.opened.recv() => match opened {
                    Some(true) => ready += 1,
                    Some(false) => failed += 1,
                    None => break,
                },
                _ = ticks.tick() => progress.show("connecting", &self.state),
                () = stop.wait() => break,
            }
        }
        ready
    }

    fn outlet(&self) -> WebOutlet {
        WebOutlet::new(self.queue.clone(), self.state.plan.connections)
    }

    async fn run_visitors(&self) {
        std::future::pending().await
    }

    async fn finish(mut self, _planned: u64, end_ns: u64) -> FinalReceipts {
        self.clients.shutdown().await;
        while let Ok(due) = self.queued.try_recv() {
            self.state.on_request_lost(0, due.at_ns, end_ns);
        }
        FinalReceipts { received: self.state.total_at_end(), unreported_clients: 0 }
    }
}

fn page(state: &RunState, target: &Target, connector: &Connector, id: usize) -> PageSource {
    let (host, path) = match target {
        Target::Web { host, path, .. } => (host.as_str(), path.as_str()),
        Target::Chat { address, .. } => (address.as_str(), "/"),
    };
    match target.uri().filter(|_| state.plan.http2_streams.is_some()) {
        Some(uri) => PageSource::Http2(Http2Stream::new(connector.clone(), uri, id)),
        None => PageSource::Http1(PageConnection::new(connector.clone(), host, path, id)),
    }
}

async fn run_client(
    state: Arc<RunState>,
    id: usize,
    page: PageSource,
    queued: Receiver<Due>,
    at: Instant,
    opened_sender: mpsc::Sender<bool>,
) {
    sleep_until(at).await;
    let begun = Instant::now();
    let limit = state.plan.timeout;
    let opened = timeout(limit, WebClient::open(&state, id, page, queued)).await.unwrap_or_else(|_elapsed| {
        let limit = humantime::format_duration(limit);
        Err(Failure::timeout(format!("the target let a client wait for more than {limit}")))
    });
    match opened {
        Ok(mut client) => {
            state.logins.on_first(at.into_std(), begun.into_std());
            let _ = opened_sender.send(true).await;
            // They end with this task.
            let mut further_streams = JoinSet::new();
            for _ in 1..state.plan.http2_streams.unwrap_or(1) {
                if let Some(mut client) = client.another_stream() {
                    further_streams.spawn(async move { client.run().await });
                }
            }
            client.run().await;
        }
        Err(failure) => {
            state.failures.count(&failure);
            let _ = opened_sender.send(false).await;
        }
    }
}
