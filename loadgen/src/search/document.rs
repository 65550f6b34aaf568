//! The result of a search as plain data: the fields that `--json` writes.

use serde::Serialize;

use super::bracket::RateTrials;
use crate::report::{Report, Timing};

/// The name of the search report's schema.
pub(super) const SCHEMA: &str = "loadgen.search/1";

/// The report of a search.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SearchReport {
    /// Always `loadgen.search/1`.
    pub(crate) schema: &'static str,
    /// The generator's version.
    pub(crate) version: &'static str,
    /// The server under test.
    pub(crate) target: String,
    /// When it began, in seconds of the Unix epoch.
    pub(crate) started_unix_seconds: f64,
    /// Whether a signal ended it early.
    pub(crate) interrupted: bool,
    /// The objectives.
    pub(crate) objectives: Vec<String>,
    /// The duration of each trial.
    pub(crate) dwell_seconds: f64,
    /// The largest allowed relative difference between the answer and the
    /// lowest rate that missed.
    pub(crate) resolution: f64,
    /// The highest rate that held; `None` if no rate held.
    pub(crate) answer: Option<Answer>,
    /// The lowest rate with a trial that did not hold; `None` if all held.
    pub(crate) limit: Option<Limit>,
    /// Why no verdict is possible; `None` if the search has a verdict. There
    /// may be an answer nevertheless: the highest rate that held until then.
    pub(crate) invalid: Option<String>,
    /// 0 with an answer, 1 if no rate held, 2 without a verdict.
    pub(crate) exit_code: u8,
    /// Every trial, in order.
    pub(crate) trials: Vec<Trial>,
}

/// The highest rate that held.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Answer {
    /// Commands per second.
    pub(crate) rate: f64,
    /// Number of trials at this rate that held.
    pub(crate) held: u32,
    /// Number of trials at this rate; all of them held.
    pub(crate) trials: u32,
    /// Whether this rate held in the required number of trials and cannot be
    /// refined: a higher rate within `resolution` missed, or this rate is the
    /// highest one that the search may try.
    pub(crate) settled: bool,
    /// The lower bound of the share of trials at this rate that hold, with 95 %
    /// confidence.
    pub(crate) holds_at_least: f64,
}

/// The lowest rate with a trial that did not hold, and why.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Limit {
    /// Commands per second.
    pub(crate) rate: f64,
    /// Number of trials at this rate that held.
    pub(crate) held: u32,
    /// Number of trials at this rate.
    pub(crate) trials: u32,
    /// Whether the generator, and not the server, was too slow.
    pub(crate) of_generator: bool,
    /// The reasons in the verdict of the last trial at this rate.
    pub(crate) reasons: Vec<String>,
    /// The most harmful finding of that trial.
    pub(crate) worst: Option<Worst>,
}

/// The most harmful finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Worst {
    /// Its id.
    pub(crate) id: String,
    /// Its cause.
    pub(crate) cause: String,
    /// Where it is.
    pub(crate) site: Option<String>,
    /// Its share of the time that slow deliveries waited.
    pub(crate) share: f64,
}

/// One trial.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Trial {
    /// Commands per second.
    pub(crate) rate: f64,
    /// `held`, `missed` or `invalid`.
    pub(crate) outcome: &'static str,
    /// Why it did not hold.
    pub(crate) reasons: Vec<String>,
    /// From due time to receipt.
    pub(crate) latency: Option<Timing>,
    /// Deliveries that never arrived.
    pub(crate) lost: u64,
    /// The most harmful finding, if the server reports findings.
    pub(crate) worst: Option<Worst>,
    #[serde(skip)]
    pub(crate) nothing_measured: bool,
}

impl Trial {
    /// Returns the data of a trial's report.
    pub(super) fn from_report(rate: f64, report: &Report) -> Self {
        Self {
            rate,
            outcome: report.verdict.outcome.as_str(),
            reasons: report.verdict.reasons.clone(),
            latency: report.load.latency,
            lost: report.load.deliveries.lost,
            worst: worst(report),
            nothing_measured: report.load.commands.planned == 0,
        }
    }
}

impl Limit {
    /// Returns the limit at the rate `tried`.
    pub(super) fn from_trials(tried: RateTrials, trials: &[Trial]) -> Self {
        let missed =
            trials.iter().rev().find(|trial| is_same_rate(trial.rate, tried.rate) && trial.outcome != "held");
        Self {
            rate: tried.rate,
            held: tried.held,
            trials: tried.trials,
            of_generator: missed.is_some_and(|trial| trial.outcome == "invalid"),
            reasons: missed.map_or_else(Vec::new, |trial| trial.reasons.clone()),
            worst: missed.and_then(|trial| trial.worst.clone()),
        }
    }
}

fn is_same_rate(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
}

fn worst(report: &Report) -> Option<Worst> {
    let share = report.tail.as_ref()?.findings.first().filter(|share| share.share > 0.0)?;
    let finding = report.findings.as_ref()?.findings.iter().find(|finding| finding.id == share.id)?;
    let site = finding.site.as_ref();
    Some(Worst {
        id: share.id.clone(),
        cause: finding.cause.as_str().to_owned(),
        site: site.map(crate::report::place),
        share: share.share,
    })
}
