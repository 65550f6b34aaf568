//! The thread that makes findings of evidence and reports them. Symbolising
//! and writing to a terminal may take long, so the watchdog does neither.

use std::io::{self, IsTerminal, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::diagnose::symbols::Symbols;
use crate::diagnose::verdict::{self, StallVerdict};
use crate::evidence::{Message, Phase, StallEvidence};
use crate::finding::{Finding, TaskInfo};
use crate::findings::Findings;
use crate::record::hook_status::Hook;
use crate::record::recorder::Recorder;
use crate::report;
use crate::self_metrics::{Dropped, SelfMetrics};
use crate::settings::Terminal;
use crate::token_bucket::TokenBucket;

/// A callback for findings.
pub(crate) type OnFinding = Box<dyn Fn(&Finding) + Send + Sync>;

/// At most so many reports a minute, and so many in one burst.
const REPORTS_PER_MINUTE: u32 = 5;

/// The running thread. Ends, and is joined, once the watchdog has closed its
/// side; what came before is reported first.
#[derive(Debug)]
pub(crate) struct Reporter(Option<JoinHandle<()>>);

impl Reporter {
    pub(crate) fn start(
        recorder: &Arc<Recorder>,
        self_metrics: &Arc<SelfMetrics>,
        findings: &Arc<Findings>,
        messages: Receiver<Message>,
        terminal: Terminal,
        on_finding: Option<OnFinding>,
    ) -> io::Result<Self> {
        let budget =
            TokenBucket::new(REPORTS_PER_MINUTE, f64::from(REPORTS_PER_MINUTE) / 60.0, Instant::now());
        let (recorder, self_metrics, findings) =
            (Arc::clone(recorder), Arc::clone(self_metrics), Arc::clone(findings));
        let thread = thread::Builder::new().name("loopscope-report".to_owned()).spawn(move || {
            let symbols = Symbols::new();
            let mut reporter = ReporterLoop {
                recorder,
                self_metrics,
                findings,
                symbols,
                budget,
                terminal,
                on_finding,
                suppressed: 0,
            };
            reporter.work(&messages);
        })?;
        Ok(Self(Some(thread)))
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // A panic there has been printed by the panic hook already.
            let _ = thread.join();
        }
    }
}

struct ReporterLoop {
    recorder: Arc<Recorder>,
    self_metrics: Arc<SelfMetrics>,
    findings: Arc<Findings>,
    symbols: Symbols,
    budget: TokenBucket,
    terminal: Terminal,
    on_finding: Option<OnFinding>,
    /// Reports kept back since the last one that went out.
    suppressed: u64,
}

impl ReporterLoop {
    fn work(&mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Stall(stall) => self.stall(&stall),
                Message::Wait { start_nanos, end_nanos, task } => {
                    self.findings.add_wait(start_nanos, end_nanos, task);
                }
                Message::Replaced(hook) => self.replaced(hook),
                Message::NoStall(key) => self.findings.retract_stall(key),
                Message::End => return,
            }
        }
    }

    fn stall(&mut self, stall: &StallEvidence) {
        let diagnosis = match verdict::judge(stall, &mut self.symbols) {
            StallVerdict::Blocked(diagnosis) => *diagnosis,
            StallVerdict::Starved => {
                if matches!(stall.phase, Phase::Ended) {
                    self.self_metrics.starved(stall.times.off_cpu, true);
                }
                return self.findings.retract_stall(stall.key);
            }
            // The finding may have been added when the stall began.
            StallVerdict::Ignored => return self.findings.retract_stall(stall.key),
        };
        #[cfg(not(tokio_unstable))]
        if stall.kind == self.recorder.unnamed && !verdict::is_single_poll(stall, &mut self.symbols) {
            // Suspected only: the worker may have got on from one poll to the next.
            return self.findings.retract_stall(stall.key);
        }
        let kind = self.recorder.kinds.get(stall.kind);
        let task = TaskInfo { kind: kind.name, spawned_at: kind.spawned_at };
        let Ok(finding) = self.findings.add_stall(stall, task, diagnosis) else {
            return self.self_metrics.dropped(Dropped::TooManyFindings, 1);
        };
        let is_news = match stall.phase {
            Phase::Began => false,
            Phase::Lasts => true,
            Phase::Ended => finding.count.is_power_of_two(),
        };
        if is_news {
            self.report(&finding);
        }
    }

    fn report(&mut self, finding: &Finding) {
        if let Some(callback) = &self.on_finding {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| callback(finding)));
        }
        if !self.budget.take(Instant::now()) {
            self.suppressed += 1;
            self.self_metrics.report_suppressed();
            return;
        }
        let suppressed = std::mem::take(&mut self.suppressed);
        report::event::emit(finding, suppressed);
        if self.draws() {
            draw(finding, suppressed);
        }
    }

    fn replaced(&self, hook: Hook) {
        let (hook, loss) = (hook.name(), hook.loss());
        let text = format!(
            "`{hook}` was set on a watched runtime's builder after `Scope::watch`, which replaces loopscope's: \
             {loss}; give yours to `Scope::watch_with`"
        );
        tracing::warn!(target: "loopscope", hook, "{text}");
        if self.draws() {
            let _ = writeln!(io::stderr().lock(), "loopscope: {text}");
        }
    }

    fn draws(&self) -> bool {
        match self.terminal {
            Terminal::Auto => io::stderr().is_terminal(),
            Terminal::Always => true,
            Terminal::Never => false,
        }
    }
}

#[cfg(feature = "diagnostic")]
fn draw(finding: &Finding, suppressed: u64) {
    let color =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut text = report::diagnostic(finding, color);
    if suppressed > 0 {
        text.push_str(&format!("loopscope: {suppressed} reports were kept back since the last one\n"));
    }
    // Nobody to tell that stderr is gone.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(not(feature = "diagnostic"))]
fn draw(finding: &Finding, suppressed: u64) {
    let site = finding.site.as_ref().map(ToString::to_string).unwrap_or_default();
    let text = format!(
        "loopscope: {} blocked the event loop at {site}; {suppressed} reports kept back\n",
        finding.cause
    );
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
