//! One connection's worth of requests.

use std::sync::Arc;

use async_channel::Receiver;
use tokio::time::timeout;

use super::page::PageConnection;
use crate::plan::Due;
use crate::record::{Failure, RunState, count};

/// Takes what is due out of the waiting line, asks, and waits for the answer.
#[derive(Debug)]
pub(crate) struct WebClient {
    state: Arc<RunState>,
    id: usize,
    page: PageConnection,
    queue: Receiver<Due>,
    /// Since when there is nothing to wait for.
    free_ns: u64,
    is_up: bool,
}

impl WebClient {
    /// Connects and asks once, unmeasured, so that it is known whether the
    /// target speaks HTTP.
    pub(crate) async fn open(
        state: &Arc<RunState>,
        id: usize,
        page: PageConnection,
        queue: Receiver<Due>,
    ) -> Result<Self, Failure> {
        let state = Arc::clone(state);
        let mut client = Self { state, id, page, queue, free_ns: 0, is_up: false };
        client.page.get().await?;
        client.set_up(true);
        Ok(client)
    }

    /// Works until nothing more can become due.
    pub(crate) async fn work(&mut self) {
        while let Ok(due) = self.queue.recv().await {
            self.ask(due).await;
        }
    }

    async fn ask(&mut self, due: Due) {
        let mut open =
            Open { state: Arc::clone(&self.state), id: self.id, due_ns: due.at_ns, is_done: false };
        let sent_ns = self.state.now_ns();
        // Late is the generator only while it had both a request and a
        // connection for it.
        self.state.on_send(self.id, sent_ns.saturating_sub(due.at_ns.max(self.free_ns)));
        let answer = timeout(self.state.plan.timeout, self.page.get()).await;
        self.free_ns = self.state.now_ns();
        match answer {
            Ok(Ok(status)) => {
                open.is_done = true;
                self.state.on_answer(self.id, status, due.at_ns, sent_ns, self.free_ns);
                self.set_up(true);
            }
            Ok(Err(failure)) => {
                self.state.failures.count(&failure);
                self.set_up(false);
            }
            Err(_elapsed) => {
                let limit = humantime::format_duration(self.state.plan.timeout);
                let text = format!("the target let a request wait for more than {limit}");
                self.state.failures.count(&Failure::timeout(text));
                self.page.hang_up();
            }
        }
    }

    fn set_up(&mut self, is_up: bool) {
        let live = &self.state.live;
        match (self.is_up, is_up) {
            (false, true) => count(&live.joined, 1),
            (true, false) => count(&live.left, 1),
            _ => {}
        }
        self.is_up = is_up;
    }
}

/// A request without an answer: lost, unless it is done, even if the run ends
/// in the middle of it.
struct Open {
    state: Arc<RunState>,
    id: usize,
    due_ns: u64,
    is_done: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.is_done {
            self.state.on_request_lost(self.id, self.due_ns, self.state.now_ns());
        }
    }
}
