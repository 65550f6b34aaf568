//! What is shown while the run goes on.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::record::{LiveView, RunState};
use crate::report::text::units::{count, duration_ns};

/// How often a line is rewritten on a terminal.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(250);

/// How often a line is added where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// A line on standard error that tells how it goes.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    pause: Option<Duration>,
    last: Option<(Instant, LiveView)>,
}

impl Progress {
    /// A live line on a terminal, a line now and then without one, nothing if
    /// `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let bar = ProgressBar::new_spinner();
            style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
        });
        let pause = if terminal { TERMINAL_INTERVAL } else { PLAIN_INTERVAL };
        Self { bar, pause: (!quiet).then_some(pause), last: None }
    }

    /// Shows where the run stands, if it is time to.
    pub(crate) fn show(&mut self, phase: &str, state: &RunState) {
        let now = Instant::now();
        let (since, before) = *self.last.get_or_insert_with(|| (now, LiveView::default()));
        let elapsed = now.duration_since(since);
        if self.pause.is_none_or(|pause| elapsed < pause) {
            return;
        }
        let view = state.live.view();
        self.last = Some((now, view));
        let text = line(phase, state, &view, &before, elapsed);
        match &self.bar {
            Some(bar) => {
                bar.set_message(text);
                bar.tick();
            }
            None => eprintln!("{text}"),
        }
    }

    /// Says one thing at once, such as the beginning of a phase.
    pub(crate) fn say(&self, text: &str) {
        match (&self.bar, self.pause) {
            (Some(bar), _) => {
                bar.set_message(text.to_owned());
                bar.tick();
            }
            (None, Some(_)) => eprintln!("{text}"),
            (None, None) => {}
        }
    }

    /// Takes the live line away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for the eye")]
fn line(phase: &str, state: &RunState, view: &LiveView, before: &LiveView, elapsed: Duration) -> String {
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
