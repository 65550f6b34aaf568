//! The progress of the run on standard error.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::record::{LiveCounts, RunState};
use crate::report::text::units::{count, counted, duration_ns};

/// Time between two updates of the line on a terminal.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(250);

/// Time between two lines if standard error is not a terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// A line on standard error that shows the state of the run.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    interval: Option<Duration>,
    last: Option<(Instant, LiveCounts)>,
    /// How many findings the server has reported so far; `None` if nothing asks
    /// it.
    finding_count: Option<Arc<AtomicUsize>>,
}

impl Progress {
    /// Returns a display that rewrites one line on a terminal, adds lines
    /// elsewhere, and shows nothing if `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let bar = ProgressBar::new_spinner();
            style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
        });
        let interval = if terminal { TERMINAL_INTERVAL } else { PLAIN_INTERVAL };
        Self { bar, interval: (!quiet).then_some(interval), last: None, finding_count: None }
    }

    /// Shows the number of findings too.
    pub(crate) fn count_findings(&mut self, count: Option<Arc<AtomicUsize>>) {
        self.finding_count = count;
    }

    /// Shows the state of the run, unless the last update is too recent.
    pub(crate) fn show(&mut self, phase: &str, state: &RunState) {
        let now = Instant::now();
        let (since, before) = *self.last.get_or_insert_with(|| (now, LiveCounts::default()));
        let elapsed = now.duration_since(since);
        if self.interval.is_none_or(|interval| elapsed < interval) {
            return;
        }
        let view = state.live.view();
        self.last = Some((now, view));
        let mut text = line(phase, state, &view, &before, elapsed);
        if let Some(findings) = &self.finding_count {
            text += &format!(", {}", counted(findings.load(Ordering::Relaxed) as u64, "finding"));
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None => eprintln!("{text}"),
        }
    }

    /// Shows `text` at once, such as the beginning of a phase.
    pub(crate) fn show_text(&self, text: &str) {
        match (&self.bar, self.interval) {
            (Some(bar), _) => {
                bar.set_message(text.to_owned());
                bar.tick();
            }
            (None, Some(_)) => eprintln!("{text}"),
            (None, None) => {}
        }
    }

    /// Removes the line from the terminal.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates are shown without decimals")]
fn line(phase: &str, state: &RunState, view: &LiveCounts, before: &LiveCounts, elapsed: Duration) -> String {
    let open =
        format!("{phase}: {} of {} connections", count(view.open), count(state.plan.connections as u64));
    let failures = match state.failures.total() {
        0 => String::new(),
        failures => format!(", {} failures", count(failures)),
    };
    if view.planned == 0 {
        return open + &failures;
    }
    let per_second = |now: u64, then: u64| (now - then) as f64 / elapsed.as_secs_f64();
    let latency = state.received().latency;
    format!(
        "{open}, {:.0} commands/s, {:.0} deliveries/s, p50 {}, p99 {}{failures}",
        per_second(view.sent, before.sent),
        per_second(view.delivered, before.delivered),
        duration_ns(latency.value_at_quantile(0.5)),
        duration_ns(latency.value_at_quantile(0.99)),
    )
}
