//! `loadgen merge`: merges the shards of one test into one report.
//!
//! Counts and histograms are added. Percentiles are those of the added
//! histograms, because an average of percentiles is not a percentile. All
//! shards send to the same server, so several of them report the same findings:
//! each finding is taken from the shard that reports its highest count. A
//! report states which share of the waiting time of slow deliveries each
//! finding explains. The merged share is the mean of the shards' shares,
//! weighted by the waiting time in each shard.

mod load;
mod logins;
mod logs;
mod server;
mod shard;

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::cli::MergeArgs;
use crate::report::{self, Report, RunOutcome};
pub(crate) use logs::MergedLog;
use shard::Shard;

/// The result of a merge.
#[derive(Debug)]
pub(crate) enum Merged {
    /// The merged reports.
    Report(Box<Report>),
    /// The merged interval logs.
    Log(Box<MergedLog>),
}

/// Merges the shards of the arguments.
///
/// # Errors
///
/// If a shard cannot be read, or the shards are not of the same test.
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
        bail!("reports and logs cannot be merged with each other, because both contain the same deliveries");
    }
    if args.hlog.is_some() {
        bail!("--hlog requires logs as shards; reports have no intervals");
    }
    let shards = args.shards.iter().map(|path| Shard::read(path)).collect::<anyhow::Result<Vec<_>>>()?;
    merge_reports(shards, args).map(|report| Merged::Report(Box::new(report)))
}

fn merge_reports(shards: Vec<Shard>, args: &MergeArgs) -> anyhow::Result<Report> {
    let Some(first) = shards.first() else { bail!("there is no shard to merge") };
    for shard in &shards {
        shard.check_same_test(first)?;
    }
    let mut load = load::merge(&shards)?;
    load.logins = logins::merge(&shards)?;
    let generator = load::worst_generator(&shards);
    let server_data = server::merge(&shards);
    let findings = server_data.findings.as_ref().zip(server_data.watched_seconds);
    let objectives = report::judge(&args.slo, &load, &generator, findings);
    let invalid = shards.iter().filter(|shard| shard.report.verdict.outcome == RunOutcome::Invalid);
    let invalid = invalid.flat_map(|shard| {
        shard.report.verdict.reasons.iter().map(|reason| format!("{}: {reason}", shard.name))
    });
    // `--deny` is not a flag of `merge`.
    let denied = 0;
    let verdict = report::verdict(invalid.collect(), &objectives, denied);
    let started = shards.iter().map(|shard| shard.report.started_unix_seconds).fold(f64::INFINITY, f64::min);
    Ok(Report {
        schema: report::SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: "merge".to_owned(),
        target: first.report.target.clone(),
        started_unix_seconds: started,
        interrupted: shards.iter().any(|shard| shard.report.interrupted),
        settings: shard::merge_settings(&shards),
        telemetry: first.report.telemetry.clone(),
        program: None,
        load,
        generator,
        objectives,
        watched_seconds: server_data.watched_seconds,
        findings: server_data.findings,
        stalls: server_data.stalls,
        coverage: server_data.coverage,
        tail: server_data.tail,
        login_tail: server_data.login_tail,
        minimal: None,
        clock: server_data.clock,
        verdict,
    })
}
