//! Why the slow deliveries were slow, and the slow logins: their waiting time
//! compared with the stalls of the server.
//!
//! A delivery is *slow* if it took longer than the tightest latency objective,
//! or, without one, longer than the p99 of the deliveries that arrived. It
//! waited from its due time to its arrival. Every part of that time belongs to
//! one of four categories:
//!
//! * **Generator**: from due time to send, the generator's own lateness. A
//!   stall of the server cannot delay a message that was not sent yet, even if
//!   the stall overlaps this time.
//! * **Explained**, by finding: the time in which a stall of that finding
//!   blocked some worker of the server. Where stalls of several findings
//!   overlap, each finding gets an equal part; see [`StallTimeline`].
//! * **After a stall**: the time between the end of a stall and the arrival of
//!   the delivery. The stall is the last one in which the delivery waited. The
//!   time consists of the backlog that the stall caused and of the usual
//!   latency of a message. The two cannot be distinguished from outside, so
//!   this time is not part of a finding's share; the report shows it
//!   separately.
//! * **Unexplained**: the rest. It includes deliveries that became due after a
//!   stall and waited in its backlog, stalls below the server's threshold, and
//!   stalls whose times the server does not report.
//!
//! Each share is a share of the total time that slow deliveries waited, so the
//! four categories add up to 1. A delivery that never arrived has no arrival
//! time to compare with stalls; it is counted as lost.
//!
//! The same holds for logins, with three differences. Without an objective, one
//! is slow from the p90 on, because logins are few. It waited from its due time
//! until the connection was ready, and was "sent" when the connection was
//! begun. The measured time includes that in which the clients connect.
//!
//! An overlap alone proves nothing: the stalls of a server that is stalled half
//! of the time overlap half of any waiting time. So each finding also has its
//! share of the measured time: the *share by chance*, which a delivery that is
//! independent of the finding would show. A stall is harmful if at least one
//! slow delivery waited in it.

use std::time::Instant;

use loopscope::{FindingsDocument, Stall};

use super::clock::Alignment;
use super::timeline::{FindingStall, StallTimeline};
use crate::record::{SlowWaits, WaitSpan};
use crate::report::{Share, Tail};
use crate::unix_time;

/// Divides the waiting time of the slow ones into the four categories.
#[expect(clippy::cast_precision_loss, reason = "latencies are far shorter than 2^53 ns")]
pub(crate) fn explain(
    slow: &SlowWaits,
    stalls: &[Stall],
    findings: &FindingsDocument,
    clock: &Alignment,
) -> Tail {
    let start = clock.server_unix_ns(slow.start);
    let ids: Vec<&str> = findings.findings.iter().map(|finding| &*finding.id).collect();
    let timed = timed_stalls(stalls, &ids, start, clock.server_unix_ns(Instant::now()));
    let timeline = StallTimeline::new(&timed, ids.len());
    let mut waiting = WaitingTime::new(ids.len());
    for span in &slow.kept {
        waiting.generator += span.sent_ns.saturating_sub(span.due_ns) as f64;
        waiting.waited += span.nanoseconds() as f64;
        waiting.add_delivery(&timeline, signed(span.sent_ns), signed(span.arrived_ns));
    }
    let harm = HarmIndex::new(&slow.kept);
    let share = |(index, id): (usize, &&str)| {
        let stalls_of_finding = timed.iter().filter(|stall| stall.finding == index);
        let during = stalls_of_finding
            .clone()
            .filter(|stall| stall.end_ns > 0 && stall.start_ns < signed(slow.measured_ns));
        let count = findings.findings[index].count;
        Share {
            id: (*id).to_owned(),
            share: waiting.share(waiting.explained[index]),
            share_by_chance: by_chance(&timeline, index, slow.measured_ns),
            after_share: waiting.share(waiting.after[index]),
            deliveries: waiting.deliveries[index] * slow.weight,
            stalls: during.clone().count() as u64,
            hurtful_stalls: during.filter(|stall| harm.is_harmful(stall)).count() as u64,
            missing_stalls: count.saturating_sub(stalls_of_finding.count() as u64),
        }
    };
    let mut shares: Vec<_> = ids.iter().enumerate().map(share).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    let explained = waiting.share(waiting.explained.iter().sum());
    let after = waiting.share(waiting.after.iter().sum());
    let generator = waiting.share(waiting.generator);
    Tail {
        threshold: slow.threshold.clone(),
        threshold_seconds: seconds(slow.threshold_ns),
        deliveries: slow.count,
        looked_at: slow.kept.len() as u64,
        waited_seconds: waiting.waited * slow.weight_factor() / 1e9,
        // The sum of an empty iterator is minus zero.
        explained_share: explained + 0.0,
        after_share: after,
        generator_share: generator,
        unexplained_share: if waiting.waited > 0.0 {
            (1.0 - explained - after - generator).max(0.0)
        } else {
            0.0
        },
        findings: shares,
    }
}

/// Returns the stalls of the findings `ids`, in nanoseconds since the
/// measurement began. An ongoing stall lasts until `now`.
fn timed_stalls(stalls: &[Stall], ids: &[&str], start: i64, now: i64) -> Vec<FindingStall> {
    let stall = |stall: &Stall| {
        let finding = stall.finding.as_deref()?;
        let end = stall.end.map_or(now, |end| signed(unix_time::to_nanos(end)));
        Some(FindingStall {
            start_ns: signed(unix_time::to_nanos(stall.start)).saturating_sub(start),
            end_ns: end.saturating_sub(start),
            finding: ids.iter().position(|id| *id == finding)?,
        })
    };
    stalls.iter().filter_map(stall).collect()
}

/// The waiting time by category, in nanoseconds.
#[derive(Debug)]
struct WaitingTime {
    waited: f64,
    generator: f64,
    explained: Vec<f64>,
    after: Vec<f64>,
    deliveries: Vec<u64>,
}

impl WaitingTime {
    fn new(findings: usize) -> Self {
        let nothing = vec![0.0; findings];
        Self {
            waited: 0.0,
            generator: 0.0,
            explained: nothing.clone(),
            after: nothing,
            deliveries: vec![0; findings],
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "latencies are far shorter than 2^53 ns")]
    fn add_delivery(&mut self, timeline: &StallTimeline, sent_ns: i64, arrived_ns: i64) {
        for finding in 0..self.explained.len() {
            let part = timeline.part_ns(finding, sent_ns, arrived_ns);
            self.explained[finding] += part;
            self.deliveries[finding] += u64::from(part > 0.0);
        }
        if let Some((after, findings)) = timeline.time_after_last_stall(sent_ns, arrived_ns) {
            for &finding in findings {
                self.after[finding] += after as f64 / findings.len() as f64;
            }
        }
    }

    fn share(&self, nanoseconds: f64) -> f64 {
        if self.waited > 0.0 { nanoseconds / self.waited } else { 0.0 }
    }
}

/// Answers which stalls are harmful: at least one slow delivery waited in them.
#[derive(Debug)]
struct HarmIndex {
    /// The times of sending in ascending order, each with the latest arrival of
    /// all deliveries that were sent up to then.
    sent_and_latest: Vec<(u64, u64)>,
}

impl HarmIndex {
    fn new(spans: &[WaitSpan]) -> Self {
        let mut sent_and_latest: Vec<_> = spans.iter().map(|span| (span.sent_ns, span.arrived_ns)).collect();
        sent_and_latest.sort_unstable();
        let mut latest = 0;
        for (_, arrived) in &mut sent_and_latest {
            latest = latest.max(*arrived);
            *arrived = latest;
        }
        Self { sent_and_latest }
    }

    fn is_harmful(&self, stall: &FindingStall) -> bool {
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

#[expect(clippy::cast_precision_loss, reason = "shown with three significant digits")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests;
