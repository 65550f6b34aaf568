//! The driver for HTTP.

use std::convert::Infallible;
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
    /// Closes when no client or further stream of one is left.
    running: mpsc::Receiver<Infallible>,
}

impl WebDriver {
    /// Opens the connections, spread over the plan's ramp.
    pub(crate) fn launch(state: &Arc<RunState>, target: &Target, connector: &Connector) -> Self {
        let plan = &state.plan;
        let (queue, queued) = async_channel::bounded(MAX_QUEUED_REQUESTS);
        let (opened_sender, opened) = mpsc::channel(plan.connections);
        let (is_running, running) = mpsc::channel(1);
        let mut clients = JoinSet::new();
        let begin = Instant::now();
        for id in 0..plan.connections {
            let at = begin + plan.connect_delay(id);
            let page = page(state, target, connector, id);
            let is_running = is_running.clone();
            let client =
                ClientTask { state: Arc::clone(state), id, page, queued: queued.clone(), is_running };
            clients.spawn(client.run(at, opened_sender.clone()));
        }
        Self { state: Arc::clone(state), clients, opened, queue, queued, running }
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
        // The end of a client only requests the end of its further streams,
        // whose requests in progress are lost.
        while self.running.recv().await.is_some() {}
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

struct ClientTask {
    state: Arc<RunState>,
    id: usize,
    page: PageSource,
    queued: Receiver<Due>,
    is_running: mpsc::Sender<Infallible>,
}

impl ClientTask {
    async fn run(self, at: Instant, opened_sender: mpsc::Sender<bool>) {
        let Self { state, id, page, queued, is_running } = self;
        sleep_until(at).await;
        let begun = Instant::now();
        let limit = state.plan.timeout;
        let opened =
            timeout(limit, WebClient::open(&state, id, page, queued)).await.unwrap_or_else(|_elapsed| {
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
                        let is_running = is_running.clone();
                        further_streams.spawn(async move {
                            client.run().await;
                            drop(is_running);
                        });
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[tokio::test]
    async fn a_request_of_a_stream_that_ends_after_its_client_is_lost() {
        let state = Arc::new(RunState::new(Plan::from_flags(&["--connections", "2", "--rooms", "1"])));
        let (queue, queued) = async_channel::bounded(1);
        let (is_running, running) = mpsc::channel(1);
        let (_, opened) = mpsc::channel(1);
        let stream_state = Arc::clone(&state);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            stream_state.on_request_lost(0, 0, 1);
            drop(is_running);
        });
        let driver = WebDriver { state, clients: JoinSet::new(), opened, queue, queued, running };
        let counts = driver.finish(1, 1).await.received.counts();
        assert_eq!((counts.expected, counts.lost), (1, 1));
    }
}
