//! `loadgen search`: the highest rate at which the objectives hold.

mod bracket;
mod document;
mod text;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::{HuntArgs, SearchArgs};
use crate::hunt::{self, TargetServer};
use crate::plan::{Metric, Objective, Target};
use crate::report::RunOutcome;
use crate::run::{Progress, Stop};
use crate::trial;
use bracket::{Bracket, Limits, TrialResult};
pub(crate) use document::SearchReport;
use document::{Answer, Limit, Trial};
pub(crate) use text::text;

/// The lowest rate to try, in commands per second.
const MIN_RATE: f64 = 1.0;

/// Runs the search against one server, which runs during the whole search.
///
/// # Errors
///
/// If a flag is wrong, the server cannot be reached, or the first trial cannot
/// run.
pub(crate) async fn search(args: SearchArgs) -> anyhow::Result<SearchReport> {
    let mut hunt = args.as_hunt();
    hunt::add_defaults(&mut hunt);
    if let Some(path) = hunt.load.slo_file.take() {
        hunt.load.slo.extend(Objective::read_file(&path)?);
    }
    if hunt.load.slo.is_empty() {
        anyhow::bail!("the objective is missing: add one such as --slo 'p99<50ms'");
    }
    if hunt.load.stages.is_some() {
        anyhow::bail!("--stages cannot be used with search, which chooses the rates itself");
    }
    if hunt.output.html.is_some() {
        anyhow::bail!("--html cannot be used with search, which has no page; use --json");
    }
    let target = hunt.server.target.as_deref().and_then(|target| target.parse::<Target>().ok());
    if target.is_some_and(|target| target.is_web()) {
        hunt.load.slo.extend(implied_objective(&hunt.load.slo)?);
    }
    let limits = Limits {
        first: hunt.load.rate.clamp(MIN_RATE, args.max_rate.max(MIN_RATE)),
        lowest: MIN_RATE,
        highest: args.max_rate.max(MIN_RATE),
        resolution: args.resolution,
        trials: args.trials,
        max_trials: args.max_trials,
    };
    let stop = Stop::on_signals()?;
    let server = TargetServer::start_or_connect(&hunt).await?;
    let started = SystemTime::now();
    let mut search = Search { hunt, server, bracket: Bracket::new(limits), trials: Vec::new() };
    let end = search.run_trials(&stop).await?;
    let (target, trial_duration) = (search.server.target.clone(), search.hunt.load.duration);
    let objectives = search.hunt.load.slo.iter().map(|objective| objective.text().to_owned()).collect();
    let (bracket, trials) = (search.bracket, search.trials);
    let server_failure = search.server.stop().await.err();
    let invalid = server_failure.or_else(|| no_verdict(&end, bracket.highest_held().is_some(), &trials));
    let answer = bracket.highest_held().map(|below| Answer {
        rate: below.rate,
        held: below.held,
        trials: below.trials,
        settled: bracket.is_settled(),
        holds_at_least: bracket::lower_bound(below.trials),
    });
    let limit = bracket.lowest_missed().map(|above| Limit::from_trials(above, &trials));
    Ok(SearchReport {
        schema: document::SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        target,
        started_unix_seconds: started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        interrupted: end == SearchEnd::Interrupted,
        objectives,
        dwell_seconds: trial_duration.as_secs_f64(),
        resolution: limits.resolution,
        exit_code: if invalid.is_some() { 2 } else { u8::from(answer.is_none()) },
        answer,
        limit,
        invalid,
        trials,
    })
}

/// Returns the objective that no answer of a web server is an error, unless
/// there is another one on errors. A server that is overloaded may answer with
/// errors, and faster than before.
fn implied_objective(objectives: &[Objective]) -> anyhow::Result<Option<Objective>> {
    let names_errors = objectives.iter().any(|objective| objective.metric() == Metric::ErrorReplies);
    let implied = (!names_errors).then(|| "error_replies==0".parse().map_err(anyhow::Error::msg));
    implied.transpose()
}

/// Why a search ended.
#[derive(Debug, PartialEq, Eq)]
enum SearchEnd {
    /// There was no further rate to try.
    Complete,
    /// A signal requested the end.
    Interrupted,
    /// A trial could not run; the reason.
    Failed(String),
}

/// Returns why the search allows no verdict, if it allows none. That no rate
/// holds is a verdict only if at least one trial missed an objective: an
/// invalid trial says nothing about the server.
fn no_verdict(end: &SearchEnd, has_answer: bool, trials: &[Trial]) -> Option<String> {
    match end {
        SearchEnd::Failed(reason) => return Some(reason.clone()),
        _ if has_answer => return None,
        SearchEnd::Interrupted => return Some("interrupted before a rate was found".to_owned()),
        SearchEnd::Complete => {}
    }
    let has_missed = trials.iter().any(|trial| trial.outcome == RunOutcome::Missed.as_str());
    let invalid = trials.iter().rfind(|trial| trial.outcome == RunOutcome::Invalid.as_str());
    let Trial { rate, reasons, .. } = invalid.filter(|_| !has_missed)?;
    Some(format!("invalid trials allow no verdict, such as that at {rate:.1}/s: {}", reasons.join("; ")))
}

struct Search {
    hunt: HuntArgs,
    server: TargetServer,
    bracket: Bracket,
    trials: Vec<Trial>,
}

impl Search {
    /// Runs all trials. Returns why the search ended.
    ///
    /// # Errors
    ///
    /// If the first trial cannot run. After it, the trials so far are worth a
    /// report.
    async fn run_trials(&mut self, stop: &Stop) -> anyhow::Result<SearchEnd> {
        while let Some(rate) = self.bracket.next() {
            if stop.is_requested() {
                return Ok(SearchEnd::Interrupted);
            }
            self.hunt.load.rate = rate;
            let mut progress = Progress::new(self.hunt.output.quiet);
            progress.show_text(&format!("trial {} at {rate:.1}/s", self.trials.len() + 1));
            let report = match trial::run_trial(&self.hunt, &self.server, stop.clone(), &mut progress).await {
                Err(error) if !self.trials.is_empty() => {
                    return Ok(SearchEnd::Failed(format!("the trial at {rate:.1}/s cannot run: {error:#}")));
                }
                report => report?,
            };
            if report.interrupted {
                return Ok(SearchEnd::Interrupted);
            }
            let trial = Trial::from_report(rate, &report);
            if trial.nothing_measured {
                let reasons = report.verdict.reasons.join("; ");
                let reason = format!("the trial at {rate:.1}/s measured nothing: {reasons}");
                if self.trials.is_empty() {
                    anyhow::bail!(reason);
                }
                return Ok(SearchEnd::Failed(reason));
            }
            if !self.hunt.output.quiet {
                eprintln!("{}", text::trial(&trial));
            }
            // An invalid trial bounds the search as a missed one does: at a
            // higher rate, the generator would be late too.
            let result = match report.verdict.outcome {
                RunOutcome::Held => TrialResult::Held,
                _ => TrialResult::NotHeld,
            };
            self.bracket.record(rate, result);
            self.trials.push(trial);
        }
        Ok(SearchEnd::Complete)
    }
}
