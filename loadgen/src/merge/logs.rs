//! Adds up the interval logs of several shards.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use serde::Serialize;

use crate::plan::{Metric, Objective};
use crate::record::histogram;
use crate::report::text::units::{counted, duration};
use crate::report::{Timing, decode, quantile_seconds};

/// The name of the schema of merged logs.
const SCHEMA: &str = "loadgen.merged-log/1";

/// Divisor of the maxima in the log: readers of the format expect them in
/// milliseconds.
const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;

/// The latest time that a log may contain, since the Unix epoch or the start of
/// the log: the end of the year 9999.
const MAX_TIME: Duration = Duration::from_secs(253_402_300_799);

/// Maximum number of different tags. Each has a histogram.
const MAX_TAGS: usize = 1000;

/// The sum of several logs.
#[derive(Debug, Serialize)]
pub(crate) struct MergedLog {
    schema: &'static str,
    /// The files of the logs.
    shards: Vec<String>,
    /// Number of intervals of all logs.
    intervals: u64,
    /// When the first log begins, in seconds of the Unix epoch.
    started_unix_seconds: f64,
    /// The duration of the longest shard.
    seconds: f64,
    /// By tag: `latency`, `service`.
    timings: BTreeMap<String, Option<Timing>>,
    /// Objectives on latency and service time, and whether they held.
    objectives: Vec<LogObjective>,
    /// The program's exit code.
    pub(crate) exit_code: u8,
    #[serde(skip)]
    sums: BTreeMap<String, Histogram<u64>>,
}

#[derive(Debug, Serialize)]
struct LogObjective {
    objective: String,
    actual: Option<f64>,
    held: bool,
}

/// Reads the logs and adds them up.
pub(super) fn merge(paths: &[PathBuf], objectives: &[Objective]) -> anyhow::Result<MergedLog> {
    if let Some(other) = objectives.iter().find(|objective| tag_for(objective.metric()).is_none()) {
        bail!(
            "--slo {} cannot be judged from logs, which contain only latency and service time",
            other.text()
        );
    }
    let mut merged = MergedLog {
        schema: SCHEMA,
        shards: paths.iter().map(|path| path.display().to_string()).collect(),
        intervals: 0,
        started_unix_seconds: f64::INFINITY,
        seconds: 0.0,
        timings: BTreeMap::new(),
        objectives: vec![],
        exit_code: 0,
        sums: BTreeMap::new(),
    };
    for path in paths {
        let name = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
        merged.add(&bytes).with_context(|| format!("{name} is not a complete HdrHistogram log"))?;
    }
    if merged.intervals == 0 {
        bail!("the logs contain no interval");
    }
    merged.timings =
        merged.sums.iter().map(|(tag, sum)| (tag.clone(), Timing::from_histogram(sum))).collect();
    merged.objectives = objectives.iter().map(|objective| merged.judge(objective)).collect();
    merged.exit_code = merged.objectives.iter().map(exit_code).max().unwrap_or(0);
    Ok(merged)
}

fn exit_code(objective: &LogObjective) -> u8 {
    if objective.actual.is_none() { 2 } else { u8::from(!objective.held) }
}

fn tag_for(metric: Metric) -> Option<&'static str> {
    match metric {
        Metric::Latency(_) => Some("latency"),
        Metric::Service(_) => Some("service"),
        _ => None,
    }
}

impl MergedLog {
    fn add(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        for entry in IntervalLogIterator::new(bytes) {
            match entry.map_err(|error| anyhow::anyhow!("{error:?}"))? {
                LogEntry::StartTime(start) => {
                    if start > MAX_TIME {
                        bail!("it starts after the year 9999");
                    }
                    self.started_unix_seconds = self.started_unix_seconds.min(start.as_secs_f64());
                }
                LogEntry::BaseTime(_) => {}
                LogEntry::Interval(interval) => {
                    let recorded: Histogram<u64> =
                        decode(interval.encoded_histogram()).map_err(anyhow::Error::msg)?;
                    let tag = interval.tag().map_or("latency", |tag| tag.as_str()).to_owned();
                    if self.sums.len() >= MAX_TAGS && !self.sums.contains_key(&tag) {
                        bail!("it has more than {MAX_TAGS} different tags");
                    }
                    let sum = self.sums.entry(tag).or_insert_with(histogram);
                    sum.add(recorded)
                        .map_err(|error| anyhow::anyhow!("an interval cannot be added: {error}"))?;
                    self.intervals += 1;
                    let end = interval.start_timestamp().checked_add(interval.duration());
                    let Some(end) = end.filter(|&end| end <= MAX_TIME) else {
                        bail!("an interval ends after the year 9999");
                    };
                    self.seconds = self.seconds.max(end.as_secs_f64());
                }
            }
        }
        Ok(())
    }

    fn judge(&self, objective: &Objective) -> LogObjective {
        let (Metric::Latency(quantile) | Metric::Service(quantile)) = objective.metric() else {
            return LogObjective { objective: objective.text().to_owned(), actual: None, held: false };
        };
        let timing = tag_for(objective.metric()).and_then(|tag| self.timings.get(tag)?.as_ref());
        let actual = quantile_seconds(timing, quantile);
        let held = actual.is_some_and(|actual| objective.holds(actual));
        LogObjective { objective: objective.text().to_owned(), actual, held }
    }

    /// Writes a log with one interval, which is the whole test.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut serializer = V2DeflateSerializer::new();
        let start = Duration::try_from_secs_f64(self.started_unix_seconds).unwrap_or_default();
        let start: SystemTime = UNIX_EPOCH + start;
        let mut writer = IntervalLogWriterBuilder::new()
            .add_comment("loadgen merge: values in nanoseconds; the one interval is the whole test")
            .with_start_time(start)
            .with_base_time(start)
            .with_max_value_divisor(NANOSECONDS_PER_MILLISECOND)
            .begin_log_with(&mut file, &mut serializer)?;
        let length = Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        for (tag, sum) in &self.sums {
            let written = writer.write_histogram(sum, Duration::ZERO, length, Tag::new(tag));
            written.map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        file.flush()
    }

    /// Returns the result as text for a terminal.
    pub(crate) fn text(&self) -> String {
        let shards = counted(self.shards.len() as u64, "shard");
        let mut lines = vec![format!("merged       {shards}, {} long", duration(self.seconds))];
        for (tag, timing) in &self.timings {
            let timing = timing.as_ref().map_or_else(
                || "nothing".to_owned(),
                |timing| {
                    let samples = counted(timing.samples, "sample");
                    format!(
                        "p50 {}, p90 {}, p99 {}, p99.9 {}, max {} of {samples}",
                        duration(timing.p50_seconds),
                        duration(timing.p90_seconds),
                        duration(timing.p99_seconds),
                        duration(timing.p999_seconds),
                        duration(timing.max_seconds)
                    )
                },
            );
            lines.push(format!("{tag:<12} {timing}"));
        }
        for LogObjective { objective, actual, held } in &self.objectives {
            let word = if *held { "held" } else { "missed" };
            let actual = actual.map_or_else(|| "nothing measured".to_owned(), duration);
            lines.push(format!("{word:<12} {objective} ({actual})"));
        }
        lines.join("\n") + "\n"
    }
}
