//! The client that sends requests on one connection or stream.

use std::pin::Pin;
use std::sync::Arc;

use async_channel::Receiver;
use tokio::time::{Instant, Sleep, sleep};

use super::page_source::PageSource;
use crate::plan::Due;
use crate::record::{Failure, RunState, count};

/// Takes due requests from the queue, sends them, and waits for the answers.
#[derive(Debug)]
pub(crate) struct WebClient {
    state: Arc<RunState>,
    id: usize,
    page: PageSource,
    queue: Receiver<Due>,
    /// When the connection became free, in nanoseconds since the measurement
    /// began.
    free_since_ns: u64,
    /// Whether its connection counts as open; never set for the further
    /// streams of a connection.
    is_up: bool,
    is_further_stream: bool,
    /// The timer of the request in progress. Moving it on is cheaper than a new
    /// one for each request.
    deadline: Pin<Box<Sleep>>,
}

impl WebClient {
    /// Connects and sends one request that is not measured, to check that the
    /// target speaks HTTP.
    pub(crate) async fn open(
        state: &Arc<RunState>,
        id: usize,
        page: PageSource,
        queue: Receiver<Due>,
    ) -> Result<Self, Failure> {
        let state = Arc::clone(state);
        let deadline = Box::pin(sleep(state.plan.timeout));
        let mut client = Self {
            state,
            id,
            page,
            queue,
            free_since_ns: 0,
            is_up: false,
            is_further_stream: false,
            deadline,
        };
        client.page.get().await?;
        client.record_is_up(true);
        Ok(client)
    }

    /// Returns a client for another stream of the same connection; `None` with
    /// HTTP/1.1.
    pub(crate) fn another_stream(&self) -> Option<Self> {
        Some(Self {
            state: Arc::clone(&self.state),
            id: self.id,
            page: self.page.another_stream()?,
            queue: self.queue.clone(),
            free_since_ns: 0,
            is_up: false,
            is_further_stream: true,
            deadline: Box::pin(sleep(self.state.plan.timeout)),
        })
    }

    /// Sends requests until no more can become due.
    pub(crate) async fn run(&mut self) {
        while let Ok(due) = self.queue.recv().await {
            self.request(due).await;
        }
    }

    async fn request(&mut self, due: Due) {
        let mut open = OpenRequest {
            state: Arc::clone(&self.state),
            id: self.id,
            due_ns: due.at_ns,
            is_answered: false,
        };
        let sent_ns = self.state.now_ns();
        // The generator is late only while it has both a request and a free
        // connection for it.
        let lag_ns = sent_ns.saturating_sub(due.at_ns.max(self.free_since_ns));
        self.state.on_send(self.id, due.at_ns, sent_ns, lag_ns);
        self.deadline.as_mut().reset(Instant::now() + self.state.plan.timeout);
        let answer = tokio::select! {
            biased;
            answer = self.page.get() => Some(answer),
            () = &mut self.deadline => None,
        };
        self.free_since_ns = self.state.now_ns();
        match answer {
            Some(Ok(status)) => {
                open.is_answered = true;
                self.state.on_answer(self.id, status, due.at_ns, sent_ns, self.free_since_ns);
                self.record_is_up(true);
            }
            Some(Err(failure)) => {
                self.state.failures.count(&failure);
                self.record_is_up(false);
            }
            None => {
                let limit = humantime::format_duration(self.state.plan.timeout);
                let text = format!("the target let a request wait for more than {limit}");
                self.state.failures.count(&Failure::timeout(text));
                self.page.close();
            }
        }
    }

    fn record_is_up(&mut self, is_up: bool) {
        if self.is_further_stream {
            return;
        }
        let live = &self.state.live;
        match (self.is_up, is_up) {
            (false, true) => count(&live.joined, 1),
            (true, false) => count(&live.left, 1),
            _ => {}
        }
        self.is_up = is_up;
    }
}

/// A request in progress. When it is dropped without an answer, the request is
/// recorded as lost, also if the run ends during the request.
struct OpenRequest {
    state: Arc<RunState>,
    id: usize,
    due_ns: u64,
    is_answered: bool,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if !self.is_answered {
            self.state.on_request_lost(self.id, self.due_ns, self.state.now_ns());
        }
    }
}
