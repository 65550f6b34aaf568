//! Latencies and counts of a part of the connections.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::counts::Counts;
use super::interval_latencies::IntervalLatencies;
use super::latency::{histogram, histogram_up_to, with_digits};
use super::latency_slices::LatencySlices;
use super::sent_requests::SentRequests;
use super::sequence::Arrival;
use super::slow::{SlowestWaits, WaitSpan};
use super::timeline::{Bins, DeliveryTimeline};
use crate::plan::Plan;

/// A delivery below this quantile cannot become one of the slowest hundredth.
const BELOW_TAIL_QUANTILE: f64 = 0.95;

/// One arrival. All times are nanoseconds since the measurement began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receipt {
    /// Whether it is new, out of order or a duplicate.
    pub(crate) arrival: Arrival,
    /// The receiver's channel.
    pub(crate) channel: usize,
    /// The stage of its due time.
    pub(crate) stage: usize,
    /// When it was due.
    pub(crate) due_ns: u64,
    /// When it was sent.
    pub(crate) sent_ns: u64,
    /// When it was received.
    pub(crate) now_ns: u64,
}

/// The deliveries of one stage.
#[derive(Debug, Clone)]
pub(crate) struct StageRecord {
    /// Counts of the deliveries that were due in the stage.
    pub(crate) counts: Counts,
    /// From the due time to the arrival, with two significant digits.
    pub(crate) latency: Histogram<u64>,
}

/// The received deliveries of a part of the connections. Each part has its own
/// recorder, so the parts do not wait for each other; all are added up at the
/// end. The size depends on the plan, but not on the duration of the run.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// From the due time to the arrival.
    pub(crate) latency: Histogram<u64>,
    /// From the sending to the arrival.
    pub(crate) service: Histogram<u64>,
    /// The due times of deliveries that were given up as lost. They are
    /// approximate: each value is the due time of the newer message at whose
    /// arrival the delivery was given up. The waiting time is known only after
    /// the run.
    pub(crate) given_up: Histogram<u64>,
    /// From due time to send, if the pacer itself does not send.
    pub(crate) send_lag: Histogram<u64>,
    /// What was sent, if the pacer itself does not send.
    pub(crate) sent: SentRequests,
    /// By stage of the plan.
    pub(crate) stages: Vec<StageRecord>,
    /// By channel.
    pub(crate) channels: Vec<Counts>,
    /// Deliveries to visitors.
    pub(crate) visitors: Counts,
    /// Visitors that came and left.
    pub(crate) visits: u64,
    /// Error replies by numeric or HTTP status.
    pub(crate) error_replies: BTreeMap<u16, u64>,
    /// The slowest deliveries, one by one.
    pub(crate) slow: SlowestWaits,
    /// The latency by slice of the run.
    pub(crate) slices: LatencySlices,
    /// Deliveries and latency over time.
    pub(crate) timeline: DeliveryTimeline,
    /// The latencies that the interval log has not written yet; `None` without
    /// a log.
    pub(crate) interval: Option<IntervalLatencies>,
    late_limit_ns: u64,
}

impl Recorder {
    /// Returns an empty recorder.
    pub(crate) fn new(plan: &Plan) -> Self {
        let stage = StageRecord { counts: Counts::default(), latency: with_digits(2) };
        Self {
            latency: histogram(),
            service: histogram(),
            given_up: histogram_up_to(plan.duration()),
            send_lag: histogram(),
            sent: SentRequests::new(plan),
            stages: vec![stage; plan.stages.all().len()],
            channels: vec![Counts::default(); plan.channels],
            visitors: Counts::default(),
            visits: 0,
            error_replies: BTreeMap::new(),
            slow: SlowestWaits::with_floor(plan.late_limit().map_or(0, crate::plan::nanoseconds)),
            slices: LatencySlices::new(plan.duration()),
            timeline: DeliveryTimeline::new(Bins::new(plan.duration())),
            interval: plan.hlog.is_some().then(IntervalLatencies::new),
            late_limit_ns: plan.late_limit().map_or(u64::MAX, crate::plan::nanoseconds),
        }
    }

    /// Returns the counts of all stages together.
    pub(crate) fn counts(&self) -> Counts {
        self.stages.iter().fold(Counts::default(), |mut sum, stage| {
            sum.add(&stage.counts);
            sum
        })
    }

    /// Records one arrival.
    pub(crate) fn record(&mut self, receipt: &Receipt) {
        let &Receipt { arrival, channel, stage, due_ns, sent_ns, now_ns } = receipt;
        let Arrival::First { late: overtaken, given_up } = arrival else {
            let again = Counts { duplicated: 1, ..Counts::default() };
            return self.count(channel, stage, &again);
        };
        let latency = now_ns.saturating_sub(due_ns).max(1);
        let service = now_ns.saturating_sub(sent_ns).max(1);
        self.latency.saturating_record(latency);
        let has_late_limit = self.late_limit_ns < u64::MAX;
        let below_tail =
            || if has_late_limit { 0 } else { self.latency.value_at_quantile(BELOW_TAIL_QUANTILE) };
        self.slow.offer(
            WaitSpan { due_ns, sent_ns: sent_ns.clamp(due_ns, now_ns.max(due_ns)), arrived_ns: now_ns },
            below_tail,
        );
        self.service.saturating_record(service);
        self.stages[stage].latency.saturating_record(latency);
        self.timeline.record_arrival(now_ns);
        self.timeline.record_latency(due_ns, latency, 1);
        self.slices.record(due_ns, latency, 1);
        if let Some(interval) = &mut self.interval {
            interval.latency.saturating_record(latency);
            interval.service.saturating_record(service);
        }
        if given_up > 0 {
            self.given_up.saturating_record_n(due_ns.max(1), given_up);
        }
        let counts = Counts {
            delivered: 1,
            lost: given_up,
            out_of_order: u64::from(overtaken),
            late: u64::from(latency > self.late_limit_ns),
            ..Counts::default()
        };
        self.count(channel, stage, &counts);
    }

    /// Records one arrival at a visitor.
    pub(crate) const fn record_visitor(&mut self, arrival: Arrival) {
        let mut counts = Counts { duplicated: 1, ..Counts::NONE };
        if let Arrival::First { late, given_up } = arrival {
            counts = Counts { delivered: 1, lost: given_up, out_of_order: late as u64, ..Counts::NONE };
        }
        self.visitors.add(&counts);
    }

    /// Records `missing` deliveries of one message as lost, with censored
    /// samples of at least `waited_ns`.
    pub(crate) fn lose(&mut self, channel: usize, stage: usize, due_ns: u64, waited_ns: u64, missing: u64) {
        self.count(channel, stage, &Counts { lost: missing, ..Counts::default() });
        self.censor(stage, due_ns, waited_ns, missing);
    }

    /// Records censored samples of at least `waited_ns` for deliveries that are
    /// already counted as lost.
    pub(crate) fn censor(&mut self, stage: usize, due_ns: u64, waited_ns: u64, missing: u64) {
        // Recording zero samples would still raise the maximum of the
        // histogram.
        if missing > 0 {
            self.latency.saturating_record_n(waited_ns, missing);
            self.stages[stage].latency.saturating_record_n(waited_ns, missing);
            self.timeline.record_latency(due_ns, waited_ns, missing);
            self.slices.record(due_ns, waited_ns, missing);
            if let Some(interval) = &mut self.interval {
                interval.latency.saturating_record_n(waited_ns, missing);
            }
        }
    }

    /// Counts deliveries that should arrive.
    pub(crate) fn expect(&mut self, channel: usize, stage: usize, expected: u64) {
        self.count(channel, stage, &Counts { expected, ..Counts::default() });
    }

    /// Adds the deliveries of `other`, but not those of the interval log.
    pub(crate) fn add(&mut self, other: &Self) {
        // Adding cannot fail, because the bounds are equal.
        let _ = self.latency.add(&other.latency);
        let _ = self.service.add(&other.service);
        let _ = self.given_up.add(&other.given_up);
        let _ = self.send_lag.add(&other.send_lag);
        self.sent.add(&other.sent);
        self.timeline.add(&other.timeline);
        self.slices.add(&other.slices);
        for (stage, other) in self.stages.iter_mut().zip(&other.stages) {
            stage.counts.add(&other.counts);
            let _ = stage.latency.add(&other.latency);
        }
        for (channel, other) in self.channels.iter_mut().zip(&other.channels) {
            channel.add(other);
        }
        self.slow.add(&other.slow);
        self.visitors.add(&other.visitors);
        self.visits += other.visits;
        for (&numeric, count) in &other.error_replies {
            *self.error_replies.entry(numeric).or_default() += count;
        }
    }

    fn count(&mut self, channel: usize, stage: usize, counts: &Counts) {
        self.stages[stage].counts.add(counts);
        self.channels[channel].add(counts);
    }
}
