//! A trial from plan to report: load, findings, verdict.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::{HuntArgs, RunArgs};
use crate::hunt::{self, LoadProbe, Observation, ObservationResult, TargetServer};
use crate::plan::{Action, Mix, Plan};
use crate::report::{self, Coverage, Load, MinimalLoad, Report, RunOutcome, Settings};
use crate::run::{self, Measurement, Progress, Stop};

/// The default mix of `loadgen run`.
const RUN_MIX: &str = "privmsg:90,join:5,who:5";

/// Runs `loadgen run`.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<Report> {
    let mut plan = Plan::new(args.target, args.load, RUN_MIX)?;
    plan.hlog.clone_from(&args.output.hlog);
    if let (Some(objective), None) = (plan.first_telemetry_objective(), &args.telemetry) {
        anyhow::bail!("--slo {} is measured by the server; add --telemetry URL", objective.text());
    }
    let stop = Stop::on_signals()?;
    let observation = match &args.telemetry {
        Some(url) => Some(Observation::start(url).await?),
        None => None,
    };
    let mut progress = Progress::new(args.output.quiet);
    progress.count_findings(observation.as_ref().map(Observation::finding_count));
    let mut measurement = run::measure(plan, stop, &mut progress).await;
    let observed = finish_observation(observation, &mut measurement).await;
    let report = report("run", measurement, observed, vec![], false);
    Ok(Report { telemetry: args.telemetry, ..report })
}

/// Runs `loadgen hunt`.
pub(crate) async fn hunt(mut args: HuntArgs) -> anyhow::Result<Report> {
    hunt::add_defaults(&mut args);
    refuse_objectives_on_deliveries(&args)?;
    let is_watched = args.server.pid.is_some() || args.server.run.is_some();
    if args.server.target.is_some() && args.server.telemetry.is_none() && !is_watched {
        anyhow::bail!(
            "--target requires --telemetry URL, or for a server without loopscope --pid PID or --run COMMAND: nothing else \
             reports its blocking calls"
        );
    }
    let names_server = args.server.target.is_some() || args.server.telemetry.is_some() || is_watched;
    if !args.command.is_empty() && !names_server {
        anyhow::bail!(
            "the command after `--` generates the load, but no server is named: add --telemetry URL, or for a server \
             without loopscope --pid PID"
        );
    }
    // A wrong flag is reported before a server is started.
    plan(&args, args.server.target.as_deref().unwrap_or_default())?;
    let stop = Stop::on_signals()?;
    let server = TargetServer::start_or_connect(&args).await?;
    let mut progress = Progress::new(args.output.quiet);
    let mut report = run_trial(&args, &server, stop.clone(), &mut progress).await?;
    if args.minimise {
        report.minimal = minimal(&args, &server, &stop, &mut progress, &report).await?;
    }
    if let Err(reason) = server.stop().await {
        report.verdict = report::server_died(reason, &report.verdict);
    }
    Ok(report)
}

/// Returns the smallest load of each finding; `None` if there is nothing to
/// minimise.
async fn minimal(
    args: &HuntArgs,
    server: &TargetServer,
    stop: &Stop,
    progress: &mut Progress,
    report: &Report,
) -> anyhow::Result<Option<Vec<MinimalLoad>>> {
    let Some(findings) = report.findings.as_ref().filter(|_| report.verdict.outcome != RunOutcome::Invalid)
    else {
        return Ok(None);
    };
    if findings.findings.is_empty() {
        return Ok(None);
    }
    let ids: Vec<_> = findings.findings.iter().map(|finding| finding.id.clone()).collect();
    let mix = plan(args, &server.target)?.mix;
    let mut trials = Trials { args: args.clone(), server, stop, progress, number: 0 };
    trials.args.output.hlog = None;
    hunt::minimise(&mut trials, &ids, &mix, args.load.rate).await
}

/// Further trials against the same server.
struct Trials<'a> {
    args: HuntArgs,
    server: &'a TargetServer,
    stop: &'a Stop,
    progress: &'a mut Progress,
    number: usize,
}

impl LoadProbe for Trials<'_> {
    async fn try_load(&mut self, mix: &Mix, rate: f64) -> anyhow::Result<Option<BTreeSet<String>>> {
        if self.stop.is_requested() {
            return Ok(None);
        }
        self.number += 1;
        self.progress.show_text(&format!("minimising, trial {}: {mix} at {rate:.1}/s", self.number));
        self.args.load.mix = Some(mix.clone());
        self.args.load.rate = rate;
        let report = run_trial(&self.args, self.server, self.stop.clone(), self.progress).await?;
        let findings = report.findings.into_iter().flat_map(|document| document.findings);
        Ok((!report.interrupted).then(|| findings.map(|finding| finding.id).collect()))
    }
}

/// Runs one trial against a server that is running.
pub(crate) async fn run_trial(
    args: &HuntArgs,
    server: &TargetServer,
    stop: Stop,
    progress: &mut Progress,
) -> anyhow::Result<Report> {
    let mut plan = plan(args, &server.target)?;
    plan.visitor_target.clone_from(&server.visitor_target);
    plan.hlog.clone_from(&args.output.hlog);
    let observation = match &server.telemetry {
        Some(url) => Some(Observation::start(url).await?),
        None => None,
    };
    progress.count_findings(observation.as_ref().map(Observation::finding_count));
    let (mut measurement, program) = if args.command.is_empty() {
        (run::measure(plan, stop, progress).await, None)
    } else {
        let json_on_stdout = args.output.json_on_stdout();
        let started = SystemTime::now();
        let result = hunt::program::run(&args.command, server, json_on_stdout, stop).await?;
        let mut measurement = run::unmeasured(plan, result.interrupted);
        measurement.started = started;
        measurement.invalid.extend(result.failure);
        (measurement, Some(result.program))
    };
    let observed = finish_observation(observation, &mut measurement).await;
    let report = report("hunt", measurement, observed, args.server.inject.clone(), args.deny);
    Ok(Report { program, telemetry: args.server.telemetry.clone(), ..report })
}

fn plan(args: &HuntArgs, target: &str) -> anyhow::Result<Plan> {
    let is_embedded = args.server.target.is_none();
    let default_mix = if is_embedded { hunt::EMBEDDED_HUNT_MIX } else { hunt::HUNT_MIX };
    Plan::new(target.to_owned(), args.load.clone(), default_mix)
}

/// Refuses objectives on deliveries if a command generates the load, because a
/// command does not report its deliveries.
fn refuse_objectives_on_deliveries(args: &HuntArgs) -> anyhow::Result<()> {
    let delivery_objective = args.load.slo.iter().find(|objective| !objective.metric().needs_telemetry());
    match delivery_objective {
        Some(objective) if !args.command.is_empty() => anyhow::bail!(
            "--slo {} cannot be judged, because the command does not report its deliveries; \
             use an objective such as blocking.events==0",
            objective.text()
        ),
        _ => Ok(()),
    }
}

/// Ends the observation and returns its result. If the server does not answer,
/// the measurement becomes invalid.
async fn finish_observation(
    observation: Option<Observation>,
    measurement: &mut Measurement,
) -> Option<ObservationResult> {
    match observation?.finish(measurement.slow.as_ref(), measurement.slow_logins.as_ref()).await {
        Ok(observed) => Some(observed),
        Err(error) => {
            measurement.invalid.push(format!("{error:#}"));
            None
        }
    }
}

fn report(
    command: &str,
    measurement: Measurement,
    observed: Option<ObservationResult>,
    inject: Vec<String>,
    deny: bool,
) -> Report {
    let Measurement { load, generator, started, interrupted, invalid, plan, slow: _, slow_logins: _ } =
        measurement;
    let denied = observed.as_ref().filter(|_| deny).map_or(0, |observed| observed.findings.findings.len());
    let findings = observed.as_ref().map(|observed| (&observed.findings, observed.seconds));
    let objectives = report::judge(&plan.objectives, &load, &generator, findings);
    Report {
        schema: report::SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: command.to_owned(),
        target: plan.target.clone(),
        started_unix_seconds: started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        interrupted,
        settings: settings(&plan, inject),
        verdict: report::verdict(invalid, &objectives, denied),
        program: None,
        telemetry: None,
        minimal: None,
        coverage: observed.as_ref().and_then(|observed| coverage(&load, observed)),
        load,
        generator,
        objectives,
        watched_seconds: observed.as_ref().map(|observed| observed.seconds),
        findings: observed.as_ref().map(|observed| observed.findings.clone()),
        tail: observed.as_ref().and_then(|observed| observed.tail.clone()),
        login_tail: observed.as_ref().and_then(|observed| observed.login_tail.clone()),
        clock: observed.as_ref().map(|observed| observed.clock.clone()),
        stalls: observed.map(|observed| observed.stalls),
    }
}

/// Returns what the load exercised; `None` if the server does not report polls.
fn coverage(load: &Load, observed: &ObservationResult) -> Option<Coverage> {
    let tasks = observed.polled.clone()?;
    let sent = |name: &str| load.commands.by_kind.get(name).is_some_and(|count| count.sent > 0);
    // Chat and web targets have different commands.
    let is_web_action = |action: &Action| *action == Action::Get;
    let is_web_target = load.commands.by_kind.contains_key(Action::Get.as_str());
    let known = Action::ALL.into_iter().filter(|action| is_web_action(action) == is_web_target);
    let never_sent = known.map(Action::as_str).filter(|name| !sent(name)).map(str::to_owned);
    let never_sent = if load.commands.planned > 0 { never_sent.collect() } else { vec![] };
    Some(Coverage { never_sent, polls: tasks.iter().map(|task| task.polls).sum(), tasks })
}

fn settings(plan: &Plan, inject: Vec<String>) -> Settings {
    let mix = plan.mix.entries().iter().map(|&(action, weight)| (action.as_str().to_owned(), weight));
    Settings {
        connections: (plan.connections + plan.storm_clients) as u64,
        rooms: plan.channels as u64,
        rate: plan.stages.mean_rate(),
        arrivals: plan.arrivals.as_str().to_owned(),
        duration_seconds: plan.duration().as_secs_f64(),
        ramp_seconds: plan.ramp.as_secs_f64(),
        settle_seconds: plan.settle.as_secs_f64(),
        drain_seconds: plan.drain.as_secs_f64(),
        timeout_seconds: plan.timeout.as_secs_f64(),
        max_send_lag_seconds: plan.max_send_lag.as_secs_f64(),
        http2_streams: plan.http2_streams.map(|streams| streams as u64),
        storm_every_seconds: plan.storm.map(|storm| storm.every.as_secs_f64()),
        churn: plan.churn,
        payload_bytes: plan.payload_bytes as u64,
        seed: plan.seed,
        threads: plan.threads as u64,
        mix: mix.collect(),
        inject,
    }
}
