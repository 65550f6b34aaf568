//! All the clients of a run: sent out, assembled, called home.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Stop;
use super::progress::Progress;
use crate::irc::{Member, Session};
use crate::record::{Failure, Inbox, Shared, count};

/// How long the clients get to say good-bye.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The clients, each a task of its own.
#[derive(Debug)]
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    clients: JoinSet<(usize, Inbox)>,
    arrivals: mpsc::Receiver<Option<Member>>,
    home: watch::Sender<bool>,
}

impl Fleet {
    /// Sends the clients out, spread over the plan's ramp.
    pub(crate) fn launch(shared: &Arc<Shared>, address: SocketAddr) -> Self {
        let plan = &shared.plan;
        let (arrived, arrivals) = mpsc::channel(plan.connections);
        let (home, called_home) = watch::channel(false);
        let mut clients = JoinSet::new();
        let begin = Instant::now();
        for id in 0..plan.connections {
            let client = Client { shared: Arc::clone(shared), address, id, arrived: arrived.clone() };
            let at = begin + plan.connects_after(id);
            clients.spawn(client.attend(at, called_home.clone()));
        }
        Self { shared: Arc::clone(shared), clients, arrivals, home }
    }

    /// Waits until every client has joined or failed, or it is clear that too
    /// few will. Those who have joined, by number.
    pub(crate) async fn assemble(&mut self, stop: &mut Stop, progress: &mut Progress) -> Vec<Member> {
        let all = self.shared.plan.connections;
        let allowed = all - self.shared.plan.required_connections();
        let (mut members, mut failed) = (Vec::with_capacity(all), 0);
        let mut look = tokio::time::interval(LOOK);
        while members.len() + failed < all && failed <= allowed {
            tokio::select! {
                arrival = self.arrivals.recv() => match arrival {
                    Some(Some(member)) => members.push(member),
                    Some(None) => failed += 1,
                    None => break,
                },
                _ = look.tick() => progress.show("connecting", &self.shared),
                () = stop.wait() => break,
            }
        }
        members.sort_by_key(|member| member.id);
        members
    }

    /// Calls everybody home. What each received, by number.
    pub(crate) async fn disband(mut self) -> Vec<Inbox> {
        let _ = self.home.send(true);
        let mut inboxes: Vec<Inbox> = Vec::new();
        inboxes.resize_with(self.shared.plan.connections, Inbox::default);
        let collect = async {
            while let Some(client) = self.clients.join_next().await {
                if let Ok((id, inbox)) = client {
                    inboxes[id] = inbox;
                }
            }
        };
        let _ = timeout(FAREWELL, collect).await;
        inboxes
    }
}

struct Client {
    shared: Arc<Shared>,
    address: SocketAddr,
    id: usize,
    arrived: mpsc::Sender<Option<Member>>,
}

impl Client {
    async fn attend(self, at: Instant, mut home: watch::Receiver<bool>) -> (usize, Inbox) {
        let opened = tokio::select! {
            opened = self.open(at) => opened,
            () = called(&mut home) => return (self.id, Inbox::default()),
        };
        let mut session = match opened {
            Ok(session) => session,
            Err(failure) => {
                self.shared.failures.count(&failure);
                let _ = self.arrived.send(None).await;
                return (self.id, Inbox::default());
            }
        };
        let live = &self.shared.live;
        count(&live.joined, 1);
        let _ = self.arrived.send(Some(session.member())).await;
        tokio::select! {
            failure = session.receive() => {
                self.shared.failures.count(&failure);
                count(&live.left, 1);
            }
            () = called(&mut home) => {}
        }
        (self.id, session.leave())
    }

    async fn open(&self, at: Instant) -> Result<Session, Failure> {
        sleep_until(at).await;
        let limit = self.shared.plan.timeout;
        let room = self.shared.room_name(self.id);
        match timeout(limit, Session::open(&self.shared, self.address, self.id, room)).await {
            Ok(opened) => opened,
            Err(_elapsed) => {
                let limit = humantime::format_duration(limit);
                Err(Failure::timeout(format!("the target let a client wait for more than {limit}")))
            }
        }
    }
}

async fn called(home: &mut watch::Receiver<bool>) {
    let _ = home.wait_for(|&home| home).await;
}
