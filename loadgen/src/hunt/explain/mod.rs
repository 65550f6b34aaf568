//! Why the slow deliveries were slow: what clients felt, laid over what the
//! server was doing meanwhile.
//!
//! A delivery is *slow* if it took longer than the tightest objective on
//! latency, or, without one, longer than the p99 of what arrived. It waited
//! from the time it was due to the time it arrived, and every part of that
//! time is put to one of four accounts:
//!
//! * **The generator's own**: from due to sent. No stall of the server can have
//!   held up what had not been sent, whatever it overlaps.
//! * **Explained**, by finding: the time in which a stall of that finding held
//!   up some worker of the server. Where stalls of several findings overlap, each
//!   finding has an equal part; see [`StallTimeline`].
//! * **After a stall**: the time from the end of the last stall that the delivery
//!   waited in to its arrival. It is the backlog that the stall left behind, and
//!   the ordinary way of a message; which of the two cannot be told from
//!   outside, so it is no part of a finding's share, but named with it.
//! * **Unexplained**: the rest. A delivery that came due after a stall had ended
//!   and waited in its backlog is in here too, whatever one may suspect, and so
//!   are stalls below the server's threshold and those it could not capture.
//!
//! Each share is one of all time that slow deliveries waited, so the four
//! accounts add up to 1. What never arrived waited for nothing that could be
//! laid over stalls: it is lost, and counted there.
//!
//! Standing beside each other proves nothing yet: a server that is stalled half
//! of the time overlaps half of any waiting. So every finding has its share of the
//! measured time beside it, as the *share by chance* that a delivery would show
//! that has nothing to do with it. A stall that no slow delivery met hurt nobody.

use std::time::Instant;

use loopscope::{FindingsDocument, Stall};

use super::clock::Alignment;
use super::timeline::{FindingStall, StallTimeline};
use crate::record::{DeliverySpan, SlowDeliveries};
use crate::report::{Share, Tail};

/// Splits up what the slow deliveries waited for.
#[expect(clippy::cast_precision_loss, reason = "latencies are far shorter than 2^53 ns")]
pub(crate) fn explain(
    slow: &SlowDeliveries,
    stalls: &[Stall],
    findings: &FindingsDocument,
    clock: &Alignment,
) -> Tail {
    let start = clock.server_unix_ns(slow.start);
    let ids: Vec<&str> = findings.findings.iter().map(|finding| &*finding.id).collect();
    let stood = standstills(stalls, &ids, start, clock.server_unix_ns(Instant::now()));
    let timeline = StallTimeline::new(&stood, ids.len());
    let mut account = Account::new(ids.len());
    for span in &slow.kept {
        account.own += span.sent_ns.saturating_sub(span.due_ns) as f64;
        account.waited += span.nanoseconds() as f64;
        account.charge(&timeline, signed(span.sent_ns), signed(span.arrived_ns));
    }
    let hurt = HurtIndex::new(&slow.kept);
    let share = |(index, id): (usize, &&str)| {
        let own = stood.iter().filter(|stall| stall.finding == index);
        let during =
            own.clone().filter(|stall| stall.end_ns > 0 && stall.start_ns < signed(slow.measured_ns));
        let count = findings.findings[index].count;
        Share {
            id: (*id).to_owned(),
            share: account.share(account.explained[index]),
            share_by_chance: by_chance(&timeline, index, slow.measured_ns),
            after_share: account.share(account.after[index]),
            deliveries: account.deliveries[index] * slow.weight,
            stalls: during.clone().count() as u64,
            hurtful_stalls: during.filter(|stall| hurt.by(stall)).count() as u64,
            missing_stalls: count.saturating_sub(own.count() as u64),
        }
    };
    let mut shares: Vec<_> = ids.iter().enumerate().map(share).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    let explained = account.share(account.explained.iter().sum());
    let after = account.share(account.after.iter().sum());
    let own = account.share(account.own);
    Tail {
        threshold: slow.threshold.clone(),
        threshold_seconds: seconds(slow.threshold_ns),
        deliveries: slow.count,
        looked_at: slow.kept.len() as u64,
        waited_seconds: account.waited * slow.weight_factor() / 1e9,
        // The sum of no shares is minus zero.
        explained_share: explained + 0.0,
        after_share: after,
        generator_share: own,
        unexplained_share: if account.waited > 0.0 { (1.0 - explained - after - own).max(0.0) } else { 0.0 },
        findings: shares,
    }
}

/// The stalls in nanoseconds since the measuring began; one that lasts, lasts
/// until `now`.
fn standstills(stalls: &[Stall], ids: &[&str], start: i64, now: i64) -> Vec<FindingStall> {
    let stall = |stall: &Stall| {
        let finding = stall.finding.as_deref()?;
        let end = stall.end_unix_ns.map_or(now, signed);
        Some(FindingStall {
            start_ns: signed(stall.start_unix_ns).saturating_sub(start),
            end_ns: end.saturating_sub(start),
            finding: ids.iter().position(|id| *id == finding)?,
        })
    };
    stalls.iter().filter_map(stall).collect()
}

/// What was waited for, in nanoseconds.
#[derive(Debug)]
struct Account {
    waited: f64,
    own: f64,
    explained: Vec<f64>,
    after: Vec<f64>,
    deliveries: Vec<u64>,
}

impl Account {
    fn new(findings: usize) -> Self {
        let nothing = vec![0.0; findings];
        Self {
            waited: 0.0,
            own: 0.0,
            explained: nothing.clone(),
            after: nothing,
            deliveries: vec![0; findings],
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "latencies are far shorter than 2^53 ns")]
    fn charge(&mut self, timeline: &StallTimeline, sent_ns: i64, arrived_ns: i64) {
        for finding in 0..self.explained.len() {
            let part = timeline.part_ns(finding, sent_ns, arrived_ns);
            self.explained[finding] += part;
            self.deliveries[finding] += u64::from(part > 0.0);
        }
        if let Some((after, findings)) = timeline.aftermath(sent_ns, arrived_ns) {
            for &finding in findings {
                self.after[finding] += after as f64 / findings.len() as f64;
            }
        }
    }

    fn share(&self, nanoseconds: f64) -> f64 {
        if self.waited > 0.0 { nanoseconds / self.waited } else { 0.0 }
    }
}

/// Answers which stalls were met by a slow delivery.
#[derive(Debug)]
struct HurtIndex {
    /// By the time of sending, with the latest arrival among all up to there.
    sent_and_latest: Vec<(u64, u64)>,
}

impl HurtIndex {
    fn new(spans: &[DeliverySpan]) -> Self {
        let mut sent_and_latest: Vec<_> = spans.iter().map(|span| (span.sent_ns, span.arrived_ns)).collect();
        sent_and_latest.sort_unstable();
        let mut latest = 0;
        for (_, arrived) in &mut sent_and_latest {
            latest = latest.max(*arrived);
            *arrived = latest;
        }
        Self { sent_and_latest }
    }

    fn by(&self, stall: &FindingStall) -> bool {
        let sent_before_its_end =
            self.sent_and_latest.partition_point(|&(sent, _)| signed(sent) < stall.end_ns);
        let last = sent_before_its_end.checked_sub(1).and_then(|last| self.sent_and_latest.get(last));
        last.is_some_and(|&(_, latest)| signed(latest) > stall.start_ns)
    }
}

#[expect(clippy::cast_precision_loss, reason = "runs are far shorter than 2^53 ns")]
fn by_chance(timeline: &StallTimeline, finding: usize, measured_ns: u64) -> f64 {
    if measured_ns == 0 {
        0.0
    } else {
        timeline.part_ns(finding, 0, signed(measured_ns)) / measured_ns as f64
    }
}

fn signed(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests;
