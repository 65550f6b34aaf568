//! Latencies and counts of one part of the connections.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::counts::Counts;
use super::interval_log::Intervals;
use super::latency::{histogram, with_digits};
use super::latency_slices::LatencySlices;
use super::sequence::Arrival;
use super::slow::{DeliverySpan, SlowestDeliveries};
use super::timeline::{Bins, DeliveryTimeline};
use crate::plan::Plan;

/// The quantile below which no delivery will be among the slowest hundredth.
const BELOW_TAIL_QUANTILE: f64 = 0.95;

/// One arrival: what it is, and when. All times are nanoseconds since the
/// measuring began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receipt {
    /// Whether it is new, late or a repeat.
    pub(crate) arrival: Arrival,
    /// The receiver's channel.
    pub(crate) channel: usize,
    /// The stage in which it was due.
    pub(crate) stage: usize,
    /// When it was due.
    pub(crate) due_ns: u64,
    /// When it was sent.
    pub(crate) sent_ns: u64,
    /// When it was received.
    pub(crate) now_ns: u64,
}

/// One stage's share of what was received.
#[derive(Debug, Clone)]
pub(crate) struct StageRecord {
    /// Counts of the deliveries that were due in it.
    pub(crate) counts: Counts,
    /// From the due time to the arrival, to two digits.
    pub(crate) latency: Histogram<u64>,
}

/// What was received. Each part of the connections has its own, so that they
/// do not wait for each other; at the end all are added up. Its size depends
/// on the plan, never on how long the run lasts.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// From the due time to the arrival.
    pub(crate) latency: Histogram<u64>,
    /// From the sending to the arrival.
    pub(crate) service: Histogram<u64>,
    /// The due times, or a little later, of deliveries given up: their waiting
    /// time is known once the run has ended.
    pub(crate) given_up: Histogram<u64>,
    /// From due to sent, where not the pacer itself sends.
    pub(crate) send_lag: Histogram<u64>,
    /// By stage of the plan.
    pub(crate) stages: Vec<StageRecord>,
    /// By channel.
    pub(crate) channels: Vec<Counts>,
    /// What visitors got, and how many of them came.
    pub(crate) visitors: Counts,
    pub(crate) visits: u64,
    /// Error replies by number.
    pub(crate) error_replies: BTreeMap<u16, u64>,
    /// The slowest of what was received, one by one.
    pub(crate) slow: SlowestDeliveries,
    /// The latency by stretch of time.
    pub(crate) slices: LatencySlices,
    /// How it went over time.
    pub(crate) timeline: DeliveryTimeline,
    /// What an interval log has not taken yet, if there is one.
    pub(crate) intervals: Option<Intervals>,
    late_over_ns: u64,
}

impl Recorder {
    /// Nothing received yet.
    pub(crate) fn new(plan: &Plan) -> Self {
        let stage = StageRecord { counts: Counts::default(), latency: with_digits(2) };
        Self {
            latency: histogram(),
            service: histogram(),
            given_up: histogram(),
            send_lag: histogram(),
            stages: vec![stage; plan.stages.all().len()],
            channels: vec![Counts::default(); plan.channels],
            visitors: Counts::default(),
            visits: 0,
            error_replies: BTreeMap::new(),
            slow: SlowestDeliveries::with_floor(plan.late_over().map_or(0, crate::plan::nanoseconds)),
            slices: LatencySlices::new(plan.duration()),
            timeline: DeliveryTimeline::new(Bins::new(plan.duration())),
            intervals: plan.hlog.is_some().then(Intervals::new),
            late_over_ns: plan.late_over().map_or(u64::MAX, crate::plan::nanoseconds),
        }
    }

    /// All deliveries together.
    pub(crate) fn counts(&self) -> Counts {
        self.stages.iter().fold(Counts::default(), |mut sum, stage| {
            sum.add(&stage.counts);
            sum
        })
    }

    /// Takes in one arrival.
    pub(crate) fn record(&mut self, receipt: &Receipt) {
        let &Receipt { arrival, channel, stage, due_ns, sent_ns, now_ns } = receipt;
        let Arrival::First { late: overtaken, given_up } = arrival else {
            let again = Counts { duplicated: 1, ..Counts::default() };
            return self.count(channel, stage, &again);
        };
        let latency = now_ns.saturating_sub(due_ns).max(1);
        let service = now_ns.saturating_sub(sent_ns).max(1);
        self.latency.saturating_record(latency);
        let known = self.late_over_ns < u64::MAX;
        let below_tail = || if known { 0 } else { self.latency.value_at_quantile(BELOW_TAIL_QUANTILE) };
        self.slow.offer(
            DeliverySpan { due_ns, sent_ns: sent_ns.clamp(due_ns, now_ns.max(due_ns)), arrived_ns: now_ns },
            below_tail,
        );
        self.service.saturating_record(service);
        self.stages[stage].latency.saturating_record(latency);
        self.timeline.deliver(now_ns);
        self.timeline.took(due_ns, latency, 1);
        self.slices.took(due_ns, latency, 1);
        if let Some(intervals) = &mut self.intervals {
            intervals.latency.saturating_record(latency);
            intervals.service.saturating_record(service);
        }
        if given_up > 0 {
            self.given_up.saturating_record_n(due_ns.max(1), given_up);
        }
        let counts = Counts {
            delivered: 1,
            lost: given_up,
            out_of_order: u64::from(overtaken),
            late: u64::from(latency > self.late_over_ns),
            ..Counts::default()
        };
        self.count(channel, stage, &counts);
    }

    /// Takes in one arrival at a visitor.
    pub(crate) const fn record_visitor(&mut self, arrival: Arrival) {
        let mut counts = Counts { duplicated: 1, ..Counts::NONE };
        if let Arrival::First { late, given_up } = arrival {
            counts = Counts { delivered: 1, lost: given_up, out_of_order: late as u64, ..Counts::NONE };
        }
        self.visitors.add(&counts);
    }

    /// Deliveries of one message that never came, although `waited_ns` were
    /// waited for them: censored samples.
    pub(crate) fn lose(&mut self, channel: usize, stage: usize, due_ns: u64, waited_ns: u64, missing: u64) {
        self.count(channel, stage, &Counts { lost: missing, ..Counts::default() });
        self.censor(stage, due_ns, waited_ns, missing);
    }

    /// Puts samples of at least `waited_ns` in, for deliveries that are
    /// counted as lost.
    pub(crate) fn censor(&mut self, stage: usize, due_ns: u64, waited_ns: u64, missing: u64) {
        // Recording nothing would still raise the histogram's maximum.
        if missing > 0 {
            self.latency.saturating_record_n(waited_ns, missing);
            self.stages[stage].latency.saturating_record_n(waited_ns, missing);
            self.timeline.took(due_ns, waited_ns, missing);
            self.slices.took(due_ns, waited_ns, missing);
            if let Some(intervals) = &mut self.intervals {
                intervals.latency.saturating_record_n(waited_ns, missing);
            }
        }
    }

    /// This many deliveries should come.
    pub(crate) fn expect(&mut self, channel: usize, stage: usize, expected: u64) {
        self.count(channel, stage, &Counts { expected, ..Counts::default() });
    }

    /// Adds what `other` received; its intervals stay with it.
    pub(crate) fn add(&mut self, other: &Self) {
        // Equal bounds cannot fail to add up.
        let _ = self.latency.add(&other.latency);
        let _ = self.service.add(&other.service);
        let _ = self.given_up.add(&other.given_up);
        let _ = self.send_lag.add(&other.send_lag);
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
