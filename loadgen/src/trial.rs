//! One trial from plan to report: load, findings, verdict.

use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::{HuntArgs, RunArgs};
use crate::hunt::{self, Found, Quarry, Watch};
use crate::plan::{Action, Plan};
use crate::report::{self, Coverage, Load, Report, Settings};
use crate::run::{self, Measurement, Progress, Stop};
use anyhow::Context as _;

/// What `run` sends unless told otherwise.
const RUN_MIX: &str = "privmsg:90,join:5,who:5";

/// `loadgen run`.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<Report> {
    let mut plan = Plan::new(args.target, args.load, RUN_MIX)?;
    plan.hlog.clone_from(&args.output.hlog);
    if let (Some(objective), None) = (plan.needs_telemetry(), &args.telemetry) {
        anyhow::bail!("--slo {} is the server's to tell, which needs --telemetry URL", objective.text());
    }
    let stop = Stop::on_signals()?;
    let watch = match &args.telemetry {
        Some(url) => Some(Watch::begin(url).await?),
        None => None,
    };
    let mut progress = Progress::new(args.output.quiet);
    let mut measurement = run::measure(plan, stop, &mut progress).await;
    let found = look(watch, &mut measurement).await;
    Ok(report("run", measurement, found, vec![], false))
}

/// `loadgen hunt`.
pub(crate) async fn hunt(mut args: HuntArgs) -> anyhow::Result<Report> {
    hunt::agree(&mut args);
    refuse_objectives_on_deliveries(&args)?;
    let mut plan = Plan::new(args.target.clone().unwrap_or_default(), args.load.clone(), hunt::MIX)?;
    let stop = Stop::on_signals()?;
    let quarry = Quarry::find(&args).await?;
    plan.target.clone_from(&quarry.target);
    plan.hlog.clone_from(&args.output.hlog);
    let watch = Watch::begin(&quarry.telemetry).await?;
    let (mut measurement, program) = if args.command.is_empty() {
        let mut progress = Progress::new(args.output.quiet);
        (run::measure(plan, stop, &mut progress).await, None)
    } else {
        let output_taken = args.output.json_on_stdout();
        let begun = SystemTime::now();
        let ran = hunt::program::run(&args.command, &quarry, output_taken, stop).await?;
        let mut measurement = run::unmeasured(plan, ran.interrupted);
        measurement.started = begun;
        measurement.invalid.extend(ran.failure);
        (measurement, Some(ran.program))
    };
    let found = look(Some(watch), &mut measurement).await;
    if let Err(died) = quarry.release().await {
        measurement.invalid.insert(0, died);
    }
    Ok(Report { program, ..report("hunt", measurement, found, args.inject, args.deny) })
}

/// A command does not tell what was delivered.
fn refuse_objectives_on_deliveries(args: &HuntArgs) -> anyhow::Result<()> {
    let of_deliveries = args.load.slo.iter().find(|objective| !objective.metric().needs_telemetry());
    match of_deliveries {
        Some(objective) if !args.command.is_empty() => anyhow::bail!(
            "--slo {} cannot be judged, for a command does not tell what was delivered; \
             use one such as blocking.events==0",
            objective.text()
        ),
        _ => Ok(()),
    }
}

/// Asks what was found; where there is no answer, there is no verdict.
async fn look(watch: Option<Watch>, measurement: &mut Measurement) -> Option<Found> {
    match watch?.end(measurement.slow.as_ref()).await {
        Ok(found) => Some(found),
        Err(error) => {
            measurement.invalid.push(format!("{error:#}"));
            None
        }
    }
}

fn report(
    command: &'static str,
    measurement: Measurement,
    found: Option<Found>,
    inject: Vec<String>,
    deny: bool,
) -> Report {
    let Measurement { load, generator, started, interrupted, invalid, plan, slow: _ } = measurement;
    let denied = found.as_ref().filter(|_| deny).map_or(0, |found| found.findings.findings.len());
    let server = found.as_ref().map(|found| (&found.findings, found.seconds));
    let objectives = report::judge(&plan.objectives, &load, &generator, server);
    Report {
        schema: report::SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        command,
        target: plan.target.clone(),
        started_unix_seconds: started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        interrupted,
        settings: settings(&plan, inject),
        verdict: report::verdict(invalid, &objectives, denied),
        program: None,
        coverage: found.as_ref().and_then(|found| coverage(&load, found)),
        load,
        generator,
        objectives,
        watched_seconds: found.as_ref().map(|found| found.seconds),
        findings: found.as_ref().map(|found| found.findings.clone()),
        tail: found.as_ref().and_then(|found| found.tail.clone()),
        clock: found.as_ref().map(|found| found.clock.clone()),
        stalls: found.map(|found| found.stalls),
    }
}

/// What was exercised, as far as the server tells.
fn coverage(load: &Load, found: &Found) -> Option<Coverage> {
    let tasks = found.polled.clone()?;
    let sent = |name: &str| load.commands.by_kind.get(name).is_some_and(|count| count.sent > 0);
    let never_sent = Action::ALL.into_iter().map(Action::as_str).filter(|name| !sent(name));
    let never_sent = if load.commands.planned > 0 { never_sent.collect() } else { vec![] };
    Some(Coverage { never_sent, polls: tasks.iter().map(|task| task.polls).sum(), tasks })
}

fn settings(plan: &Plan, inject: Vec<String>) -> Settings {
    let mix = plan.mix.entries().iter().map(|&(action, weight)| (action.as_str().to_owned(), weight));
    Settings {
        connections: plan.connections as u64,
        rooms: plan.rooms as u64,
        rate: plan.stages.mean_rate(),
        arrivals: plan.arrivals.as_str(),
        duration_seconds: plan.duration().as_secs_f64(),
        ramp_seconds: plan.ramp.as_secs_f64(),
        settle_seconds: plan.settle.as_secs_f64(),
        drain_seconds: plan.drain.as_secs_f64(),
        timeout_seconds: plan.timeout.as_secs_f64(),
        max_send_lag_seconds: plan.max_send_lag.as_secs_f64(),
        churn: plan.churn,
        payload_bytes: plan.payload as u64,
        seed: plan.seed,
        threads: plan.threads as u64,
        mix: mix.collect(),
        inject,
    }
}

/// Prints; a reader that has gone, such as `head`, is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("standard output cannot be written")
        }
        _ => Ok(()),
    }
}

/// Writes the report as JSON.
pub(crate) fn write_json(report: &Report, path: &Path) -> anyhow::Result<()> {
    let mut json = serde_json::to_string_pretty(report).context("the report cannot be made into JSON")?;
    json.push('\n');
    if path == Path::new("-") {
        return print(&json);
    }
    std::fs::write(path, json).with_context(|| format!("--json {} cannot be written", path.display()))
}
