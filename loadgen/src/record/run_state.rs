//! The state of a run, which all its connections share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::live::count;
use super::payload::Payload;
use super::sequence::Arrival;
use super::{
    Counts, Failure, Failures, Inbox, IntervalLatencies, LiveCounters, LoginRecorder, Receipt, Recorder,
    Visit,
};
use crate::plan::{Plan, channel_name, nanoseconds};

/// One run: its plan, its clock, its counters and recorders.
#[derive(Debug)]
pub(crate) struct RunState {
    /// The plan.
    pub(crate) plan: Plan,
    /// The id that distinguishes messages of this run from those of other runs.
    pub(crate) run: u32,
    /// Failures of connections.
    pub(crate) failures: Failures,
    /// How long connections take until they are ready.
    pub(crate) logins: LoginRecorder,
    /// Counters that can be read during the run.
    pub(crate) live: LiveCounters,
    start: OnceLock<Instant>,
    recorders: Vec<Mutex<Recorder>>,
    /// Number of messages that each connection has begun to send.
    issued: Vec<AtomicU64>,
}

impl RunState {
    /// Returns the state of a run that has not begun.
    pub(crate) fn new(plan: Plan) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let recorders = (0..plan.threads).map(|_| Mutex::new(Recorder::new(&plan))).collect();
        let issued = (0..plan.connections).map(|_| AtomicU64::new(0)).collect();
        let logins = LoginRecorder::new(plan.duration(), plan.tightest_login_objective());
        Self {
            plan,
            run: now.subsec_nanos() ^ std::process::id().rotate_left(16),
            failures: Failures::default(),
            logins,
            live: LiveCounters::default(),
            start: OnceLock::new(),
            recorders,
            issued,
        }
    }

    /// Returns the number of the channel of connection `id`.
    pub(crate) const fn channel(&self, id: usize) -> usize {
        id % self.plan.channels
    }

    /// Returns the name of the channel of connection `id`.
    pub(crate) fn channel_name(&self, id: usize) -> String {
        channel_name(self.channel(id))
    }

    /// Returns the largest number of members of a channel.
    pub(crate) const fn channel_size(&self) -> usize {
        self.plan.connections.div_ceil(self.plan.channels)
    }

    /// Returns the index of connection `id` among the members of its channel.
    pub(crate) const fn index_in_channel(&self, id: usize) -> usize {
        id / self.plan.channels
    }

    /// Starts the measurement, unless it has started before. Returns its start,
    /// from which due times count.
    pub(crate) fn begin(&self) -> Instant {
        *self.start.get_or_init(Instant::now)
    }

    /// Returns the nanoseconds from the start of the measurement to `instant`.
    pub(crate) fn since_start(&self, instant: Instant) -> u64 {
        let since = self.start.get().map_or_else(Default::default, |&start| instant.duration_since(start));
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes that connection `sender` is about to send its message `sequence`.
    pub(crate) fn issue(&self, sender: usize, sequence: u64) {
        self.issued[sender].store(sequence + 1, Ordering::Relaxed);
    }

    /// Records a measured message that has arrived at `receiver`.
    pub(crate) fn on_delivery(&self, receiver: usize, inbox: &mut Inbox, payload: &Payload, now: Instant) {
        let &Payload { sender, sequence, due_ns, lag_ns, .. } = payload;
        let known = self.is_known(receiver, payload);
        let arrival = if known { inbox.arrive(self.index_in_channel(sender), sequence) } else { None };
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

    /// Records that connection `id` sends a request at `sent_ns`, which is
    /// `lag_ns` after it could have sent it.
    pub(crate) fn on_send(&self, id: usize, due_ns: u64, sent_ns: u64, lag_ns: u64) {
        let stage = self.plan.stages.index_at(due_ns);
        self.with_recorder(id, |recorder| {
            recorder.send_lag.saturating_record(lag_ns.max(1));
            recorder.sent.count(stage, due_ns, sent_ns);
        });
        count(&self.live.sent, 1);
    }

    /// Records the complete answer to a request.
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

    /// Records a request that gets no answer, and that was waited for until
    /// `now_ns`.
    pub(crate) fn on_request_lost(&self, id: usize, due_ns: u64, now_ns: u64) {
        let stage = self.plan.stages.index_at(due_ns);
        let waited = now_ns.saturating_sub(due_ns).max(nanoseconds(self.plan.drain));
        self.with_recorder(id, |recorder| {
            recorder.expect(0, stage, 1);
            recorder.lose(0, stage, due_ns, waited, 1);
        });
        self.live.awaited.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns the nanoseconds since the measurement began.
    pub(crate) fn now_ns(&self) -> u64 {
        self.since_start(Instant::now())
    }

    /// Records a measured message that has arrived at a visitor.
    pub(crate) fn on_visit(&self, visitor: usize, visit: &mut Visit, payload: &Payload) {
        if !self.is_known(visitor, payload) {
            return self.on_stray();
        }
        if let Some(arrival) = visit.arrive(payload.sender, payload.sequence) {
            self.with_recorder(visitor, |recorder| recorder.record_visitor(arrival));
        }
    }

    /// Records that a visitor leaves.
    pub(crate) fn on_leave(&self, visitor: usize, visit: &Visit) {
        let missing = Counts { lost: visit.missing(), ..Counts::NONE };
        self.with_recorder(visitor, |recorder| {
            recorder.visits += 1;
            recorder.visitors.add(&missing);
        });
    }

    /// Returns whether this message was sent to the receiver's channel.
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

    /// Records that the server answered a command with an error.
    pub(crate) fn on_error_reply(&self, receiver: usize, numeric: u16) {
        self.with_recorder(receiver, |recorder| *recorder.error_replies.entry(numeric).or_default() += 1);
    }

    /// Returns the sum of all recorders so far.
    pub(crate) fn received(&self) -> Recorder {
        let mut sum = Recorder::new(&self.plan);
        for recorder in &self.recorders {
            sum.add(&recorder.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }

    /// Returns the sum of all recorders at the end of the run, with the
    /// latencies that the interval log has not written yet.
    pub(crate) fn total_at_end(&self) -> Recorder {
        let mut received = self.received();
        received.interval = self.plan.hlog.is_some().then(|| self.take_interval());
        received
    }

    /// Takes the latencies that were recorded since the last call.
    pub(crate) fn take_interval(&self) -> IntervalLatencies {
        let mut sum = IntervalLatencies::new();
        for recorder in &self.recorders {
            let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(interval) = &mut recorder.interval {
                sum.take_from(interval);
            }
        }
        sum
    }

    fn with_recorder(&self, connection: usize, record: impl FnOnce(&mut Recorder)) {
        let recorder = &self.recorders[connection % self.recorders.len()];
        record(&mut recorder.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
