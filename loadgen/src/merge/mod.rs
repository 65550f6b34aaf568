//! `loadgen merge`: the shards of one test as one report.
//!
//! Counts are added, histograms are added, and percentiles are taken of the sum:
//! an average of percentiles would be none. The shards drove one server, so what
//! it found is one thing that several asked for: of each finding the shard that
//! saw most of it counts. Shares of the tail are weighed by how long each shard's
//! slow deliveries waited.

mod load;
mod logs;
mod server;
mod shard;

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::cli::MergeArgs;
use crate::report::{self, Report, RunOutcome};
pub(crate) use logs::MergedLog;
use shard::Shard;

/// What merging came to.
#[derive(Debug)]
pub(crate) enum Merged {
    /// Of reports.
    Report(Box<Report>),
    /// Of interval logs.
    Log(Box<MergedLog>),
}

/// Merges the shards that the arguments name.
///
/// # Errors
///
/// If one cannot be read, or they are not of one test.
pub(crate) fn merge(args: &MergeArgs) -> anyhow::Result<Merged> {
    let is_log = |path: &Path| path.extension().is_some_and(|extension| extension == "hlog");
    let logs = args.shards.iter().filter(|path| is_log(path)).count();
    if logs == args.shards.len() {
        let merged = logs::merge(&args.shards, &args.slo)?;
        if let Some(path) = &args.hlog {
            merged.write(path).with_context(|| format!("--hlog {} cannot be written", path.display()))?;
        }
        return Ok(Merged::Log(Box::new(merged)));
    }
    if logs > 0 {
        bail!("reports and logs cannot be merged with each other, for both hold the same deliveries");
    }
    if args.hlog.is_some() {
        bail!("--hlog goes with logs only; reports have no intervals");
    }
    let shards = args.shards.iter().map(|path| Shard::read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    reports(shards, args).map(|report| Merged::Report(Box::new(report)))
}

fn reports(shards: Vec<Shard>, args: &MergeArgs) -> anyhow::Result<Report> {
    let Some(first) = shards.first() else { bail!("there is no shard to merge") };
    for shard in &shards {
        shard.must_fit(first)?;
    }
    let load = load::load(&shards)?;
    let generator = load::worst_generator(&shards);
    let found = server::found(&shards);
    let server = found.findings.as_ref().zip(found.watched_seconds);
    let objectives = report::judge(&args.slo, &load, &generator, server);
    let invalid = shards.iter().filter(|shard| shard.report.verdict.outcome == RunOutcome::Invalid);
    let invalid = invalid.flat_map(|shard| {
        shard.report.verdict.reasons.iter().map(|reason| format!("{}: {reason}", shard.name))
    });
    let verdict = report::verdict(invalid.collect(), &objectives, 0);
    let started = shards.iter().map(|shard| shard.report.started_unix_seconds).fold(f64::INFINITY, f64::min);
    Ok(Report {
        schema: report::SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: "merge".to_owned(),
        target: first.report.target.clone(),
        started_unix_seconds: started,
        interrupted: shards.iter().any(|shard| shard.report.interrupted),
        settings: shard::settings(&shards),
        program: None,
        load,
        generator,
        objectives,
        watched_seconds: found.watched_seconds,
        findings: found.findings,
        stalls: found.stalls,
        coverage: found.coverage,
        tail: found.tail,
        minimal: None,
        clock: found.clock,
        verdict,
    })
}
