//! Merges what several shards report about the same server.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use loopscope::{FindingsDocument, Stall, StallsDocument};

use super::shard::Shard;
use crate::report::{Clock, Coverage, Report, Share, Tail, TaskPolls};

/// The parts of a merged report that come from the server.
#[derive(Debug, Default)]
pub(super) struct ServerData {
    pub(super) watched_seconds: Option<f64>,
    pub(super) findings: Option<FindingsDocument>,
    pub(super) stalls: Option<StallsDocument>,
    pub(super) coverage: Option<Coverage>,
    pub(super) tail: Option<Tail>,
    pub(super) login_tail: Option<Tail>,
    pub(super) clock: Option<Clock>,
}

/// Merges the data of all shards that observed the server.
pub(super) fn merge(shards: &[Shard]) -> ServerData {
    let seconds = shards.iter().filter_map(|shard| shard.report.watched_seconds);
    ServerData {
        watched_seconds: seconds.reduce(f64::max),
        findings: findings(shards),
        stalls: stalls(shards),
        coverage: coverage(shards),
        tail: tail(shards, |report| report.tail.as_ref()),
        login_tail: tail(shards, |report| report.login_tail.as_ref()),
        clock: clock(shards),
    }
}

fn findings(shards: &[Shard]) -> Option<FindingsDocument> {
    let mut documents = shards.iter().filter_map(|shard| shard.report.findings.clone());
    let mut merged = documents.next()?;
    for document in documents {
        for finding in document.findings {
            match merged.findings.iter_mut().find(|other| other.id == finding.id) {
                Some(other) if other.count < finding.count => *other = finding,
                Some(_) => {}
                None => merged.findings.push(finding),
            }
        }
        if merged.starved.count < document.starved.count {
            merged.starved = document.starved;
        }
        merged.suppressed_reports = merged.suppressed_reports.max(document.suppressed_reports);
        merged.dropped = merged.dropped.max(document.dropped);
    }
    merged.findings.sort_by_key(|finding| std::cmp::Reverse(finding.total));
    Some(merged)
}

fn stalls(shards: &[Shard]) -> Option<StallsDocument> {
    let documents = || shards.iter().filter_map(|shard| shard.report.stalls.as_ref());
    let mut merged = documents().max_by_key(|document| document.now)?.clone();
    // Each document converts its times with its own reading of the wall clock.
    let all = documents().flat_map(|document| {
        let scope_start = document.scope_start.unwrap_or(SystemTime::UNIX_EPOCH);
        let since_start = move |stall: &Stall| stall.start.duration_since(scope_start).unwrap_or_default();
        document.stalls.iter().map(move |stall| ((since_start(stall), &*stall.worker), stall))
    });
    let by_start_and_worker: BTreeMap<(Duration, &str), &Stall> = all.collect();
    merged.stalls = by_start_and_worker.into_values().cloned().collect();
    Some(merged)
}

fn coverage(shards: &[Shard]) -> Option<Coverage> {
    let mut all = shards.iter().filter_map(|shard| shard.report.coverage.as_ref());
    let first = all.next()?;
    let mut never_sent = first.never_sent.clone();
    let mut polls: BTreeMap<&str, u64> = first.tasks.iter().map(|task| (&*task.task, task.polls)).collect();
    for coverage in all {
        never_sent.retain(|name| coverage.never_sent.contains(name));
        for task in &coverage.tasks {
            let highest = polls.entry(&task.task).or_default();
            *highest = (*highest).max(task.polls);
        }
    }
    let mut tasks: Vec<_> =
        polls.into_iter().map(|(task, polls)| TaskPolls { task: task.to_owned(), polls }).collect();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.polls));
    Some(Coverage { never_sent, polls: tasks.iter().map(|task| task.polls).sum(), tasks })
}

/// Every share refers to the waiting time of its shard, so it is weighted by
/// that waiting time. If the threshold is a quantile, it differs between
/// shards; the lowest one is reported.
fn tail(shards: &[Shard], of: fn(&Report) -> Option<&Tail>) -> Option<Tail> {
    let tails: Vec<&Tail> = shards.iter().filter_map(|shard| of(&shard.report)).collect();
    let first = *tails.first()?;
    let waited: f64 = tails.iter().map(|tail| tail.waited_seconds).sum();
    let weighted_mean = |field: &dyn Fn(&Tail) -> f64| {
        let weighted_sum: f64 = tails.iter().map(|tail| field(tail) * tail.waited_seconds).sum();
        if waited > 0.0 { weighted_sum / waited } else { 0.0 }
    };
    let mut ids: Vec<&str> = tails.iter().flat_map(|tail| &tail.findings).map(|share| &*share.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let share = |id: &&str| {
        let shares = |tail: &&Tail| tail.findings.iter().find(|share| share.id == *id).cloned();
        let shares: Vec<Share> = tails.iter().filter_map(shares).collect();
        let mean_share = |field: fn(&Share) -> f64| {
            weighted_mean(&|tail| tail.findings.iter().find(|share| share.id == *id).map_or(0.0, field))
        };
        let highest = |field: fn(&Share) -> u64| shares.iter().map(field).max().unwrap_or(0);
        Share {
            id: (*id).to_owned(),
            share: mean_share(|share| share.share),
            share_by_chance: shares.iter().map(|share| share.share_by_chance).fold(0.0, f64::max),
            after_share: mean_share(|share| share.after_share),
            deliveries: shares.iter().map(|share| share.deliveries).sum(),
            stalls: highest(|share| share.stalls),
            hurtful_stalls: highest(|share| share.hurtful_stalls),
            missing_stalls: highest(|share| share.missing_stalls),
        }
    };
    let mut findings: Vec<_> = ids.iter().map(share).collect();
    findings.sort_by(|a, b| b.share.total_cmp(&a.share));
    Some(Tail {
        threshold: first.threshold.clone(),
        threshold_seconds: tails.iter().map(|tail| tail.threshold_seconds).fold(f64::INFINITY, f64::min),
        deliveries: tails.iter().map(|tail| tail.deliveries).sum(),
        looked_at: tails.iter().map(|tail| tail.looked_at).sum(),
        waited_seconds: waited,
        explained_share: weighted_mean(&|tail| tail.explained_share),
        after_share: weighted_mean(&|tail| tail.after_share),
        generator_share: weighted_mean(&|tail| tail.generator_share),
        unexplained_share: weighted_mean(&|tail| tail.unexplained_share),
        findings,
    })
}

/// Returns the clock with the largest error.
fn clock(shards: &[Shard]) -> Option<Clock> {
    let clocks = shards.iter().filter_map(|shard| shard.report.clock.clone());
    clocks.max_by(|a, b| a.error_seconds.total_cmp(&b.error_seconds))
}
