//! One connection's worth of requests.

use std::sync::Arc;

use async_channel::Receiver;
use tokio::time::timeout;

use super::page::Page;
use crate::plan::Due;
use crate::record::{Failure, Shared, count};

/// Takes what is due out of the waiting line, asks, and waits for the answer.
#[derive(Debug)]
pub(crate) struct Client {
    shared: Arc<Shared>,
    id: usize,
    page: Page,
    queue: Receiver<Due>,
    /// Since when there is nothing to wait for.
    free_ns: u64,
    is_up: bool,
}

impl Client {
    /// Connects and asks once, unmeasured, so that it is known whether the
    /// target speaks HTTP.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        id: usize,
        page: Page,
        queue: Receiver<Due>,
    ) -> Result<Self, Failure> {
        let shared = Arc::clone(shared);
        let mut client = Self { shared, id, page, queue, free_ns: 0, is_up: false };
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
            Open { shared: Arc::clone(&self.shared), id: self.id, due_ns: due.at_ns, is_done: false };
        let sent_ns = self.shared.now_ns();
        // Late is the generator only while it had both a request and a
        // connection for it.
        self.shared.on_send(self.id, sent_ns.saturating_sub(due.at_ns.max(self.free_ns)));
        let answer = timeout(self.shared.plan.timeout, self.page.get()).await;
        self.free_ns = self.shared.now_ns();
        match answer {
            Ok(Ok(status)) => {
                open.is_done = true;
                self.shared.on_answer(self.id, status, due.at_ns, sent_ns, self.free_ns);
                self.set_up(true);
            }
            Ok(Err(failure)) => {
                self.shared.failures.count(&failure);
                self.set_up(false);
            }
            Err(_elapsed) => {
                let limit = humantime::format_duration(self.shared.plan.timeout);
                let text = format!("the target let a request wait for more than {limit}");
                self.shared.failures.count(&Failure::timeout(text));
                self.page.hang_up();
            }
        }
    }

    fn set_up(&mut self, is_up: bool) {
        let live = &self.shared.live;
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
    shared: Arc<Shared>,
    id: usize,
    due_ns: u64,
    is_done: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.is_done {
            self.shared.on_request_lost(self.id, self.due_ns, self.shared.now_ns());
        }
    }
}
