//! The chat clients of a run: connects them, waits for them, disconnects them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Stop;
use super::progress::Progress;
use crate::irc::{Member, Session};
use crate::net::Connector;
use crate::record::{Failure, Inbox, RunState, count};

/// How long the clients may take to quit.
pub(super) const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time between two updates of the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The clients; each one is a task.
#[derive(Debug)]
pub(crate) struct Fleet {
    state: Arc<RunState>,
    clients: JoinSet<(usize, Inbox)>,
    /// One value for each client: the member, or `None` if it failed to join.
    joined: mpsc::Receiver<Option<Member>>,
    quit: watch::Sender<bool>,
}

impl Fleet {
    /// Starts the clients, spread over the plan's ramp.
    pub(crate) fn launch(state: &Arc<RunState>, connector: &Connector) -> Self {
        let plan = &state.plan;
        let (joined_sender, joined) = mpsc::channel(plan.connections);
        let (quit, quit_requested) = watch::channel(false);
        let mut clients = JoinSet::new();
        let begin = Instant::now();
        for id in 0..plan.connections {
            let (state, connector) = (Arc::clone(state), connector.clone());
            let client = ChatClient { state, connector, id, joined_sender: joined_sender.clone() };
            let at = begin + plan.connect_delay(id);
            clients.spawn(client.run(at, quit_requested.clone()));
        }
        Self { state: Arc::clone(state), clients, joined, quit }
    }

    /// Waits until every client has joined or failed, or too many have failed.
    /// Returns the members that have joined, sorted by connection number.
    pub(crate) async fn wait_until_joined(
        &mut self,
        stop: &mut Stop,
        progress: &mut Progress,
    ) -> Vec<Member> {
        let all = self.state.plan.connections;
        let allowed = all - self.state.plan.required_connections();
        let (mut members, mut failed) = (Vec::with_capacity(all), 0);
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        while members.len() + failed < all && failed <= allowed {
            tokio::select! {
                joined = self.joined.recv() => match joined {
                    Some(Some(member)) => members.push(member),
                    Some(None) => failed += 1,
                    None => break,
                },
                _ = ticks.tick() => progress.show("connecting", &self.state),
                () = stop.wait() => break,
            }
        }
        members.sort_by_key(|member| member.id);
        members
    }

    /// Disconnects all clients. Returns the inbox of each client; the index is
    /// the number of its connection. There is none if the client did not quit
    /// within `limit`.
    pub(super) async fn disconnect(mut self, limit: Duration) -> Vec<Option<Inbox>> {
        let _ = self.quit.send(true);
        let mut inboxes: Vec<Option<Inbox>> = Vec::new();
        inboxes.resize_with(self.state.plan.connections, || None);
        let collect = async {
            while let Some(client) = self.clients.join_next().await {
                if let Ok((id, inbox)) = client {
                    inboxes[id] = Some(inbox);
                }
            }
        };
        let _ = timeout(limit, collect).await;
        inboxes
    }
}

struct ChatClient {
    state: Arc<RunState>,
    connector: Connector,
    id: usize,
    joined_sender: mpsc::Sender<Option<Member>>,
}

impl ChatClient {
    async fn run(self, at: Instant, mut quit: watch::Receiver<bool>) -> (usize, Inbox) {
        let opened = tokio::select! {
            opened = self.open(at) => opened,
            () = quit_was_requested(&mut quit) => return (self.id, Inbox::default()),
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(failure) => {
                self.state.failures.count(&failure);
                let _ = self.joined_sender.send(None).await;
                return (self.id, Inbox::default());
            }
        };
        let live = &self.state.live;
        count(&live.joined, 1);
        let _ = self.joined_sender.send(Some(session.member())).await;
        tokio::select! {
            failure = session.receive() => {
                self.state.failures.count(&failure);
                count(&live.left, 1);
            }
            () = quit_was_requested(&mut quit) => {}
        }
        (self.id, session.leave())
    }

    async fn open(&self, at: Instant) -> Result<Session, Failure> {
        sleep_until(at).await;
        let limit = self.state.plan.timeout;
        let channel = self.state.channel_name(self.id);
        let begun = Instant::now();
        match timeout(limit, Session::open(&self.state, &self.connector, self.id, channel, "")).await {
            Ok(opened) => opened.inspect(|_| self.state.logins.on_first(at.into_std(), begun.into_std())),
            Err(_elapsed) => {
                let limit = humantime::format_duration(limit);
                Err(Failure::timeout(format!("the target let a client wait for more than {limit}")))
            }
        }
    }
}

async fn quit_was_requested(quit: &mut watch::Receiver<bool>) {
    let _ = quit.wait_for(|&quit| quit).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[tokio::test]
    async fn a_client_that_does_not_quit_in_time_has_no_inbox() {
        let plan = Plan::from_flags(&["--connections", "2", "--rooms", "1"]);
        let (quit, mut quit_requested) = watch::channel(false);
        let (_, joined) = mpsc::channel(1);
        let mut clients = JoinSet::new();
        clients.spawn(std::future::pending());
        clients.spawn(async move {
            quit_was_requested(&mut quit_requested).await;
            (1, Inbox::default())
        });
        let state = Arc::new(RunState::new(plan));
        let inboxes = Fleet { state, clients, joined, quit }.disconnect(Duration::from_millis(20)).await;
        assert!(inboxes[0].is_none() && inboxes[1].is_some());
    }
}
