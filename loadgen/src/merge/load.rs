//! Adds up the load figures of several shards.

use hdrhistogram::Histogram;

use super::shard::Shard;
use crate::record::{histogram, with_digits};
use crate::report::{
    CommandCount, Deliveries, Generator, Histograms, Load, MAX_NAMED_CHANNELS, Timing, decode, encode,
};
use crate::run::spectrum;

/// Merges the load figures of all shards.
pub(super) fn merge(shards: &[Shard]) -> anyhow::Result<Load> {
    let mut load = shards[0].report.load.clone();
    for shard in &shards[1..] {
        add(&mut load, &shard.report.load);
    }
    let sum = |field: fn(&Histograms) -> &String| -> anyhow::Result<Histogram<u64>> {
        let mut sum = histogram();
        for shard in shards {
            add_histogram(&mut sum, field(&shard.report.load.histograms), &shard.name)?;
        }
        Ok(sum)
    };
    let latency = sum(|histograms| &histograms.latency)?;
    let service = sum(|histograms| &histograms.service)?;
    let send_lag = sum(|histograms| &histograms.send_lag)?;
    load.latency = Timing::from_histogram(&latency);
    load.service = Timing::from_histogram(&service);
    load.send_lag = Timing::from_histogram(&send_lag);
    load.spectrum = spectrum(&latency);
    load.histograms = Histograms {
        latency: encode(&latency),
        service: encode(&service),
        send_lag: encode(&send_lag),
        latency_slices: slices(shards)?,
    };
    // A report has no histograms of its stages and bins, so the merged report
    // has no percentiles for them.
    if shards.len() > 1 {
        load.stages.iter_mut().for_each(|stage| stage.latency = None);
    }
    Ok(load)
}

fn slices(shards: &[Shard]) -> anyhow::Result<Vec<String>> {
    let slice_count =
        shards.iter().map(|shard| shard.report.load.histograms.latency_slices.len()).max().unwrap_or(0);
    let slice = |index: usize| {
        let mut sum = with_digits(2);
        for shard in shards {
            if let Some(text) = shard.report.load.histograms.latency_slices.get(index) {
                add_histogram(&mut sum, text, &shard.name)?;
            }
        }
        Ok(encode(&sum))
    };
    (0..slice_count).map(slice).collect()
}

pub(super) fn add_histogram(sum: &mut Histogram<u64>, text: &str, name: &str) -> anyhow::Result<()> {
    let histogram: Histogram<u64> =
        decode(text).map_err(|error| anyhow::anyhow!("a histogram of {name} cannot be read: {error}"))?;
    sum.add(histogram).map_err(|error| anyhow::anyhow!("a histogram of {name} cannot be added: {error}"))
}

fn add(sum: &mut Load, load: &Load) {
    sum.connections.asked += load.connections.asked;
    sum.connections.joined += load.connections.joined;
    sum.connections.lost += load.connections.lost;
    sum.measured_seconds = sum.measured_seconds.max(load.measured_seconds);
    sum.commands.planned += load.commands.planned;
    sum.commands.sent += load.commands.sent;
    sum.commands.skipped += load.commands.skipped;
    sum.commands.late += load.commands.late;
    sum.commands.planned_per_second += load.commands.planned_per_second;
    sum.commands.sent_per_second += load.commands.sent_per_second;
    for (action, count) in &load.commands.by_kind {
        let sum = sum.commands.by_kind.entry(action.clone());
        add_count(sum.or_insert(CommandCount { planned: 0, sent: 0, skipped: 0 }), count);
    }
    for (&numeric, count) in &load.commands.error_replies {
        *sum.commands.error_replies.entry(numeric).or_default() += count;
    }
    add_deliveries(&mut sum.deliveries, &load.deliveries);
    for (sum, stage) in sum.stages.iter_mut().zip(&load.stages) {
        sum.from_rate += stage.from_rate;
        sum.to_rate += stage.to_rate;
        add_count(&mut sum.commands, &stage.commands);
        add_deliveries(&mut sum.deliveries, &stage.deliveries);
    }
    sum.rooms.faulty += load.rooms.faulty;
    sum.rooms.worst.extend(load.rooms.worst.iter().cloned());
    let faults = |deliveries: &Deliveries| deliveries.lost + deliveries.duplicated + deliveries.out_of_order;
    sum.rooms.worst.sort_by_key(|room| std::cmp::Reverse(faults(&room.deliveries)));
    sum.rooms.worst.truncate(MAX_NAMED_CHANNELS);
    let (visitors, more) = (&mut sum.visitors, &load.visitors);
    visitors.visits += more.visits;
    visitors.delivered += more.delivered;
    visitors.lost += more.lost;
    visitors.duplicated += more.duplicated;
    visitors.out_of_order += more.out_of_order;
    for (sum, bin) in sum.timeline.bins.iter_mut().zip(&load.timeline.bins) {
        sum.planned += bin.planned;
        sum.sent += bin.sent;
        sum.delivered += bin.delivered;
        sum.logins_due += bin.logins_due;
        let longest = [sum.login_max_seconds, bin.login_max_seconds];
        sum.login_max_seconds = longest.into_iter().flatten().reduce(f64::max);
        (sum.p50_seconds, sum.p99_seconds) = (None, None);
        sum.max_seconds = [sum.max_seconds, bin.max_seconds].into_iter().flatten().reduce(f64::max);
    }
    for (kind, count) in &load.failures {
        *sum.failures.entry(kind.clone()).or_default() += count;
    }
    if sum.first_failure.is_none() {
        sum.first_failure.clone_from(&load.first_failure);
    }
}

fn add_count(sum: &mut CommandCount, count: &CommandCount) {
    sum.planned += count.planned;
    sum.sent += count.sent;
    sum.skipped += count.skipped;
}

fn add_deliveries(sum: &mut Deliveries, deliveries: &Deliveries) {
    sum.expected += deliveries.expected;
    sum.delivered += deliveries.delivered;
    sum.lost += deliveries.lost;
    sum.duplicated += deliveries.duplicated;
    sum.out_of_order += deliveries.out_of_order;
    sum.late += deliveries.late;
}

/// Returns the generator figures of the shard with the highest receive lag: the
/// least precise shard.
pub(super) fn worst_generator(shards: &[Shard]) -> Generator {
    let lag = |generator: &Generator| generator.receive_lag.as_ref().map_or(0.0, |lag| lag.p99_seconds);
    let worst = shards.iter().max_by(|a, b| lag(&a.report.generator).total_cmp(&lag(&b.report.generator)));
    worst.unwrap_or(&shards[0]).report.generator.clone()
}
