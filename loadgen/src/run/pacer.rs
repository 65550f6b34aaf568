//! The thread that sends: on schedule, never waiting for the server.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::oneshot;

use crate::irc::{Commands, Member, Sent};
use crate::plan::{Action, Due};
use crate::record::{Shared, count, histogram};

/// The longest sleep at a stretch, so that a halt is soon seen.
const NAP: Duration = Duration::from_millis(20);

/// How often one command was planned, and what became of it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried {
    /// Its time had come.
    pub(crate) planned: u64,
    /// It was sent.
    pub(crate) sent: u64,
    /// It was not: the connection was gone, or its outbox full.
    pub(crate) skipped: u64,
}

/// What the pacer did.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How late each command was handed to its connection.
    pub(crate) lag: Histogram<u64>,
    /// By command, as in [`Action::ALL`].
    pub(crate) tried: [Tried; Action::ALL.len()],
}

impl Pace {
    /// Nothing sent.
    pub(crate) fn none() -> Self {
        Self { lag: histogram(), tried: [Tried::default(); Action::ALL.len()] }
    }

    /// All commands together.
    pub(crate) fn total(&self) -> Tried {
        self.tried.iter().fold(Tried::default(), |sum, tried| Tried {
            planned: sum.planned + tried.planned,
            sent: sum.sent + tried.sent,
            skipped: sum.skipped + tried.skipped,
        })
    }
}

/// Starts the pacer on a thread of its own, where neither timers' ticks nor
/// received messages delay it. It ends with the schedule, or when halted.
pub(crate) fn start(
    shared: &Arc<Shared>,
    members: Vec<Member>,
    halt: Arc<AtomicBool>,
) -> std::io::Result<oneshot::Receiver<Pace>> {
    let (done, result) = oneshot::channel();
    let pacer = Pacer::new(Arc::clone(shared), members);
    thread::Builder::new().name("pacer".into()).spawn(move || {
        let _ = done.send(pacer.run(&halt));
    })?;
    Ok(result)
}

struct Pacer {
    shared: Arc<Shared>,
    members: Vec<Member>,
    /// To how many others each member's messages go.
    fanout: Vec<u64>,
    commands: Commands,
    pace: Pace,
}

impl Pacer {
    fn new(shared: Arc<Shared>, members: Vec<Member>) -> Self {
        let mut sizes: HashMap<&str, u64> = HashMap::new();
        for member in &members {
            *sizes.entry(&member.room).or_default() += 1;
        }
        let fanout = members.iter().map(|member| sizes[member.room.as_str()] - 1).collect();
        let commands = Commands::new(&shared.plan, shared.run, members.len());
        Self { shared, members, fanout, commands, pace: Pace::none() }
    }

    fn run(mut self, halt: &AtomicBool) -> Pace {
        let start = self.shared.begin();
        for due in self.shared.plan.schedule(self.members.len()) {
            if !sleep_until(start + Duration::from_nanos(due.at_ns), halt) {
                break;
            }
            self.send(&due);
        }
        self.pace
    }

    fn send(&mut self, due: &Due) {
        let member = &self.members[due.sender];
        let live = &self.shared.live;
        let tried = &mut self.pace.tried[due.action.index()];
        tried.planned += 1;
        count(&live.planned, 1);
        if due.action == Action::Privmsg {
            self.shared.issue(member.id, due.sequence);
        }
        let line = self.commands.line(due, member);
        let lag = self.shared.since_start(Instant::now()).saturating_sub(due.at_ns);
        self.pace.lag.saturating_record(lag.max(1));
        match member.link.send(line) {
            Sent::Now | Sent::Queued => {
                tried.sent += 1;
                count(&live.sent, 1);
                if due.action == Action::Privmsg {
                    count(&live.awaited, self.fanout[due.sender]);
                }
            }
            Sent::Skipped | Sent::Closed => tried.skipped += 1,
        }
    }
}

/// Whether `instant` was reached before a halt.
fn sleep_until(instant: Instant, halt: &AtomicBool) -> bool {
    loop {
        if halt.load(Ordering::Relaxed) {
            return false;
        }
        let left = instant.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(NAP));
    }
}
