//! What all connections of a run share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::live::count;
use super::sequence::Arrival;
use super::{Counts, Failure, Failures, Inbox, Intervals, Live, Receipt, Recorder, Visit};
use crate::irc::Payload;
use crate::plan::{Plan, channel_name, nanoseconds};

/// One run: its plan, its clock, and the places where things are counted.
#[derive(Debug)]
pub(crate) struct RunState {
    /// What was asked for.
    pub(crate) plan: Plan,
    /// Tells this run's messages from those of others.
    pub(crate) run: u32,
    /// What went wrong.
    pub(crate) failures: Failures,
    /// Counters to look at meanwhile.
    pub(crate) live: Live,
    start: OnceLock<Instant>,
    recorders: Vec<Mutex<Recorder>>,
    /// How many messages each connection has been told to send.
    issued: Vec<AtomicU64>,
}

impl RunState {
    /// A run that has not begun.
    pub(crate) fn new(plan: Plan) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let recorders = (0..plan.threads).map(|_| Mutex::new(Recorder::new(&plan))).collect();
        let issued = (0..plan.connections).map(|_| AtomicU64::new(0)).collect();
        Self {
            plan,
            run: now.subsec_nanos() ^ std::process::id().rotate_left(16),
            failures: Failures::default(),
            live: Live::default(),
            start: OnceLock::new(),
            recorders,
            issued,
        }
    }

    /// The channel of connection `id`, by number.
    pub(crate) const fn channel(&self, id: usize) -> usize {
        id % self.plan.channels
    }

    /// The name of the channel of connection `id`.
    pub(crate) fn channel_name(&self, id: usize) -> String {
        channel_name(self.channel(id))
    }

    /// The most members that a channel has.
    pub(crate) const fn channel_size(&self) -> usize {
        self.plan.connections.div_ceil(self.plan.channels)
    }

    /// The place of connection `id` in its channel.
    pub(crate) const fn place(&self, id: usize) -> usize {
        id / self.plan.channels
    }

    /// The measuring begins: due times count from here.
    pub(crate) fn begin(&self) -> Instant {
        *self.start.get_or_init(Instant::now)
    }

    /// When `instant` was, since the measuring began.
    pub(crate) fn since_start(&self, instant: Instant) -> u64 {
        let since = self.start.get().map_or_else(Default::default, |&start| instant.duration_since(start));
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Connection `sender` is about to send its message `sequence`.
    pub(crate) fn issue(&self, sender: usize, sequence: u64) {
        self.issued[sender].store(sequence + 1, Ordering::Relaxed);
    }

    /// A measured message has arrived at `receiver`.
    pub(crate) fn on_delivery(&self, receiver: usize, inbox: &mut Inbox, payload: &Payload, now: Instant) {
        let &Payload { sender, sequence, due_ns, lag_ns, .. } = payload;
        let known = self.is_known(receiver, payload);
        let arrival = if known { inbox.arrive(self.place(sender), sequence) } else { None };
        let Some(arrival) = arrival else { return self.on_stray() };
        let receipt = Receipt {
            arrival,
            channel: self.channel(receiver),
            stage: self.plan.stages.index_at(due_ns),
            due_ns,
            sent_ns: due_ns.saturating_add(lag_ns),
            now_ns: self.since_start(now),
        };
        self.with_recorder(receiver, |recorder| recorder.record(&receipt));
        if matches!(arrival, Arrival::First { .. }) {
            count(&self.live.delivered, 1);
        }
    }

    /// Connection `id` sends what it is free for since `lag_ns`.
    pub(crate) fn on_send(&self, id: usize, lag_ns: u64) {
        self.with_recorder(id, |recorder| recorder.send_lag.saturating_record(lag_ns.max(1)));
    }

    /// The answer to a request has come, whole.
    pub(crate) fn on_answer(&self, id: usize, status: u16, due_ns: u64, sent_ns: u64, now_ns: u64) {
        let arrival = Arrival::First { late: false, given_up: 0 };
        let stage = self.plan.stages.index_at(due_ns);
        let receipt = Receipt { arrival, channel: 0, stage, due_ns, sent_ns, now_ns };
        self.with_recorder(id, |recorder| {
            recorder.expect(0, stage, 1);
            recorder.record(&receipt);
        });
        if status >= 400 {
            self.on_error_reply(id, status);
        }
        count(&self.live.delivered, 1);
    }

    /// A request will have no answer; nobody waits for it after `now_ns`.
    pub(crate) fn on_request_lost(&self, id: usize, due_ns: u64, now_ns: u64) {
        let stage = self.plan.stages.index_at(due_ns);
        let waited = now_ns.saturating_sub(due_ns).max(nanoseconds(self.plan.drain));
        self.with_recorder(id, |recorder| {
            recorder.expect(0, stage, 1);
            recorder.lose(0, stage, due_ns, waited, 1);
        });
        self.live.awaited.fetch_sub(1, Ordering::Relaxed);
    }

    /// Nanoseconds since the measuring began.
    pub(crate) fn now_ns(&self) -> u64 {
        self.since_start(Instant::now())
    }

    /// A measured message has arrived at a visitor.
    pub(crate) fn on_visit(&self, visitor: usize, visit: &mut Visit, payload: &Payload) {
        if !self.is_known(visitor, payload) {
            return self.on_stray();
        }
        if let Some(arrival) = visit.arrive(payload.sender, payload.sequence) {
            self.with_recorder(visitor, |recorder| recorder.record_visitor(arrival));
        }
    }

    /// A visitor leaves.
    pub(crate) fn on_leave(&self, visitor: usize, visit: &Visit) {
        let missing = Counts { lost: visit.missing(), ..Counts::NONE };
        self.with_recorder(visitor, |recorder| {
            recorder.visits += 1;
            recorder.visitors.add(&missing);
        });
    }

    /// Whether this message was sent, into the receiver's channel.
    fn is_known(&self, receiver: usize, payload: &Payload) -> bool {
        let sender = payload.sender;
        let issued = self.issued.get(sender).map_or(0, |issued| issued.load(Ordering::Relaxed));
        let same_channel = self.channel(sender) == self.channel(receiver);
        same_channel && sender != receiver && payload.sequence < issued
    }

    fn on_stray(&self) {
        let text = "the target delivered a message that was never sent there";
        self.failures.count(&Failure::protocol(text, Some(b"")));
    }

    /// The server answered a command with an error.
    pub(crate) fn on_error_reply(&self, receiver: usize, numeric: u16) {
        self.with_recorder(receiver, |recorder| *recorder.error_replies.entry(numeric).or_default() += 1);
    }

    /// Everything that was received so far.
    pub(crate) fn received(&self) -> Recorder {
        let mut sum = Recorder::new(&self.plan);
        for recorder in &self.recorders {
            sum.add(&recorder.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }

    /// Everything that was received, now that nothing more will be; with what
    /// the interval log has not taken.
    pub(crate) fn settle(&self) -> Recorder {
        let mut received = self.received();
        received.intervals = self.plan.hlog.is_some().then(|| self.take_intervals());
        received
    }

    /// What was recorded since this was last asked.
    pub(crate) fn take_intervals(&self) -> Intervals {
        let mut sum = Intervals::new();
        for recorder in &self.recorders {
            let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(intervals) = &mut recorder.intervals {
                sum.take(intervals);
            }
        }
        sum
    }

    fn with_recorder(&self, connection: usize, record: impl FnOnce(&mut Recorder)) {
        let recorder = &self.recorders[connection % self.recorders.len()];
        record(&mut recorder.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
