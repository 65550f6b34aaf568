//! Reconnect storms. The clients of the storms are connected and in the
//! measured channels as the members are, but they do not send, so that the
//! deliveries of the members stay exactly known. In each storm all of them drop
//! their connections at once and log in again.
//!
//! They have a thread of their own. So the handshakes of many connections at
//! once do not delay the thread on which the members receive.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::Stop;
use crate::irc::Session;
use crate::net::Connector;
use crate::plan::Storm;
use crate::record::{Failure, LoginOutcome, RunState};

/// How long the clients may take to quit.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// What the clients must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Connect and stay.
    Stay,
    /// Drop the connection and log in again: a storm that was due then.
    Reconnect(Instant),
    /// Quit.
    Quit,
}

/// The clients of the storms.
#[derive(Debug)]
pub(super) struct StormClients {
    state: Arc<RunState>,
    storm: Storm,
    orders: watch::Sender<Order>,
    /// One value for each client: whether its first login succeeded.
    opened: mpsc::Receiver<bool>,
    thread: JoinHandle<()>,
}

impl StormClients {
    /// Starts the clients, spread over the plan's ramp; `None` if the plan has
    /// no storms.
    pub(super) fn launch(state: &Arc<RunState>, connector: &Connector) -> std::io::Result<Option<Self>> {
        let Some(storm) = state.plan.storm else { return Ok(None) };
        let clients = state.plan.storm_clients;
        let (orders, received) = watch::channel(Order::Stay);
        let (opened_sender, opened) = mpsc::channel(clients);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (run, connector) = (Arc::clone(state), connector.clone());
        let thread = std::thread::Builder::new().name("storm".into()).spawn(move || {
            runtime.block_on(run_clients(run, connector, received, opened_sender));
        })?;
        Ok(Some(Self { state: Arc::clone(state), storm, orders, opened, thread }))
    }

    /// Waits until every client is connected or has failed. Returns how many
    /// failed.
    pub(super) async fn wait_until_connected(&mut self, stop: &mut Stop) -> usize {
        let clients = self.state.plan.storm_clients;
        let mut connected = 0;
        for _ in 0..clients {
            tokio::select! {
                opened = self.opened.recv() => connected += usize::from(opened.unwrap_or(false)),
                () = stop.wait() => break,
            }
        }
        clients - connected
    }

    /// Orders the storms during the measurement, until the caller drops this
    /// future.
    pub(super) async fn run(&self) {
        let begin = Instant::from_std(self.state.begin());
        let end = begin + self.state.plan.duration();
        let mut due = begin + self.storm.every;
        while due < end {
            sleep_until(due).await;
            self.state.logins.on_storm();
            let _ = self.orders.send(Order::Reconnect(due));
            due += self.storm.every;
        }
        std::future::pending().await
    }

    /// Ends the clients. Logins in progress become censored samples.
    pub(super) async fn finish(self) {
        let _ = self.orders.send(Order::Quit);
        let _ = tokio::task::spawn_blocking(|| self.thread.join()).await;
    }
}

async fn run_clients(
    state: Arc<RunState>,
    connector: Connector,
    orders: watch::Receiver<Order>,
    opened_sender: mpsc::Sender<bool>,
) {
    let clients = state.plan.storm_clients;
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for index in 0..clients {
        let (state, connector, orders) = (Arc::clone(&state), connector.clone(), orders.clone());
        let at = begin + state.plan.storm_connect_delay(index);
        let id = state.plan.connections + index;
        let client = StormClient { state, connector, id, orders, logins: 0, free_since: Instant::now() };
        tasks.spawn(client.run(at, opened_sender.clone()));
    }
    drop((orders.clone(), opened_sender));
    let mut orders = orders;
    let _ = orders.wait_for(|order| *order == Order::Quit).await;
    let _ = timeout(QUIT_TIMEOUT, async { while tasks.join_next().await.is_some() {} }).await;
}

struct StormClient {
    state: Arc<RunState>,
    connector: Connector,
    id: usize,
    orders: watch::Receiver<Order>,
    logins: u64,
    /// When the latest login was over. A storm that began before is late
    /// because of the target, not of the generator.
    free_since: Instant,
}

impl StormClient {
    async fn run(mut self, at: Instant, opened_sender: mpsc::Sender<bool>) {
        tokio::select! {
            () = sleep_until(at) => {}
            _ = self.orders.wait_for(|order| *order == Order::Quit) => return,
        }
        let begun = Instant::now();
        let first = self.open(at).await;
        if let Some(Ok(_)) = first {
            self.state.logins.on_first(at.into_std(), begun.into_std());
        }
        let _ = opened_sender.send(matches!(first, Some(Ok(_)))).await;
        drop(opened_sender);
        let mut session = first.and_then(|opened| self.counted(opened));
        loop {
            let Some(order) = self.next_order(&mut session).await else { return };
            match order {
                Order::Stay => {}
                Order::Reconnect(due) => {
                    // A storm drops the connection without a word.
                    if let Some(session) = session.take() {
                        session.drop_silently();
                    }
                    session = self.log_in_again(due).await;
                }
                Order::Quit => {
                    if let Some(session) = session {
                        drop(session.leave());
                    }
                    return;
                }
            }
        }
    }

    /// Receives until there is an order.
    async fn next_order(&mut self, session: &mut Option<Session>) -> Option<Order> {
        loop {
            let receive = async {
                match session {
                    Some(session) => session.receive().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.orders.changed() => {
                    changed.ok()?;
                    return Some(*self.orders.borrow_and_update());
                }
                failure = receive => {
                    self.state.failures.count(&failure);
                    *session = None;
                }
            }
        }
    }

    /// Logs in for the storm that was due at `due`, and records how long it
    /// takes. A storm that begins in the meantime does not interrupt the login.
    async fn log_in_again(&mut self, due: Instant) -> Option<Session> {
        let recorder = Arc::clone(&self.state);
        let due_ns = recorder.since_start(due.into_std());
        recorder.logins.on_storm_start(due.max(self.free_since).elapsed());
        let begun = Instant::now();
        let opened = self.open(due).await;
        if let Some(Ok(_)) = opened {
            recorder.logins.on_ready(due.into_std(), begun.into_std());
        }
        self.free_since = Instant::now();
        // A login that fails or does not end counts as one that takes at least
        // as long as was waited for it. Otherwise a target that refuses all
        // logins at once would be the fastest.
        let (outcome, shortest) = match &opened {
            Some(Ok(_)) => (LoginOutcome::Ready, Duration::ZERO),
            Some(Err(_)) => (LoginOutcome::Failed, recorder.plan.timeout),
            None => (LoginOutcome::Unfinished, recorder.plan.drain),
        };
        recorder.logins.on_storm_end(outcome, due_ns, due.elapsed().max(shortest));
        opened.and_then(|opened| self.counted(opened))
    }

    /// Logs in; `None` if the clients must quit before the login is over.
    async fn open(&mut self, due: Instant) -> Option<Result<Session, Failure>> {
        let limit = self.state.plan.timeout;
        // The server may not know yet that the previous connection is closed,
        // so each login has a nick of its own.
        let suffix = if self.logins == 0 { String::new() } else { format!("r{}", self.logins % 100) };
        self.logins += 1;
        let channel = self.state.channel_name(self.id);
        let mut quit = self.orders.clone();
        let open = Session::open(&self.state, &self.connector, self.id, channel, &suffix);
        tokio::select! {
            opened = timeout_at(due + limit, open) => Some(opened.unwrap_or_else(|_elapsed| {
                let limit = humantime::format_duration(limit);
                Err(Failure::timeout(format!("the target let a login of a storm wait for more than {limit}")))
            })),
            _ = quit.wait_for(|order| *order == Order::Quit) => None,
        }
    }

    fn counted(&self, opened: Result<Session, Failure>) -> Option<Session> {
        opened.map_err(|failure| self.state.failures.count(&failure)).ok()
    }
}
