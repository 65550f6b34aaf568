//! The thread that turns evidence into findings and reports them. Symbolising
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
#[cfg(feature = "diagnostic")]
use crate::report::diagnostic;
use crate::report::event;
#[cfg(feature = "diagnostic")]
use crate::report::text::count;
use crate::self_metrics::{DropReason, SelfMetrics};
use crate::settings::Terminal;
use crate::token_bucket::TokenBucket;

/// The application's callback for findings.
pub(crate) type OnFinding = Box<dyn Fn(&Finding) + Send + Sync>;

/// The average number of reports per minute, and the maximum number in a burst.
const MAX_REPORTS_PER_MINUTE: u32 = 5;

/// A handle to the thread. Dropping it joins the thread, which ends after the
/// watchdog's last message; messages before that are handled first.
#[derive(Debug)]
pub(crate) struct Reporter(Option<JoinHandle<()>>);

impl Reporter {
    /// Starts the thread.
    pub(crate) fn start(
        recorder: &Arc<Recorder>,
        self_metrics: &Arc<SelfMetrics>,
        findings: &Arc<Findings>,
        messages: Receiver<Message>,
        terminal: Terminal,
        max_debug_info_memory: u64,
        on_finding: Option<OnFinding>,
    ) -> io::Result<Self> {
        let budget = TokenBucket::new(
            MAX_REPORTS_PER_MINUTE,
            f64::from(MAX_REPORTS_PER_MINUTE) / 60.0,
            Instant::now(),
        );
        let (recorder, self_metrics, findings) =
            (Arc::clone(recorder), Arc::clone(self_metrics), Arc::clone(findings));
        // Opens the program's file, because there may be no free descriptor
        // later.
        let symbols = Symbols::new(max_debug_info_memory);
        let thread = thread::Builder::new().name("loopscope-report".to_owned()).spawn(move || {
            let mut reporter = ReporterLoop {
                recorder,
                self_metrics,
                findings,
                symbols,
                budget,
                terminal,
                on_finding,
                suppressed_reports: 0,
            };
            reporter.run(&messages);
        })?;
        Ok(Self(Some(thread)))
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // The panic hook has already printed a panic of the thread.
            let _ = thread.join();
        }
    }
}

/// The state of the thread.
struct ReporterLoop {
    recorder: Arc<Recorder>,
    self_metrics: Arc<SelfMetrics>,
    findings: Arc<Findings>,
    symbols: Symbols,
    budget: TokenBucket,
    terminal: Terminal,
    on_finding: Option<OnFinding>,
    /// Reports suppressed by the rate limit since the previous report.
    suppressed_reports: u64,
}

impl ReporterLoop {
    fn run(&mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Stall(stall) => self.add_stall(&stall),
                Message::Wait { start_nanos, end_nanos, task } => {
                    self.findings.add_wait(start_nanos, end_nanos, task);
                }
                Message::Replaced(hook) => self.report_replaced_hook(hook),
                Message::NoStall(key) => self.findings.retract_stall(key),
                Message::End => return,
            }
        }
    }

    fn add_stall(&mut self, stall: &StallEvidence) {
        let diagnosis = match verdict::judge(stall, &mut self.symbols) {
            StallVerdict::Blocked(diagnosis) => *diagnosis,
            StallVerdict::Starved => {
                if matches!(stall.phase, Phase::Ended) {
                    self.self_metrics.count_starvation(stall.times.off_cpu, true);
                }
                return self.findings.retract_stall(stall.key);
            }
            // An earlier message about the stall may have added a finding.
            StallVerdict::Ignored => return self.findings.retract_stall(stall.key),
        };
        #[cfg(not(tokio_unstable))]
        if stall.kind == self.recorder.unnamed_kind && !verdict::is_single_poll(stall, &mut self.symbols) {
            // It may be several polls: no hook shows where one ends.
            return self.findings.retract_stall(stall.key);
        }
        let kind = self.recorder.kinds.get(stall.kind);
        let task = TaskInfo { kind: kind.name, spawned_at: kind.spawned_at };
        let Ok(finding) = self.findings.add_stall(stall, task, diagnosis) else {
            return self.self_metrics.count_dropped(DropReason::TooManyFindings, 1);
        };
        let is_report_due = match stall.phase {
            Phase::Began => false,
            Phase::Lasts => true,
            Phase::Ended => finding.count.is_power_of_two(),
        };
        if is_report_due {
            self.report(&finding);
        }
    }

    fn report(&mut self, finding: &Finding) {
        if let Some(callback) = &self.on_finding {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| callback(finding)));
        }
        if !self.budget.take(Instant::now()) {
            self.suppressed_reports += 1;
            self.self_metrics.count_suppressed_report();
            return;
        }
        let suppressed_reports = std::mem::take(&mut self.suppressed_reports);
        event::emit(finding, suppressed_reports);
        if self.has_terminal_output() {
            print_report(finding, suppressed_reports);
        }
    }

    fn report_replaced_hook(&self, hook: Hook) {
        let (hook, consequence) = (hook.name(), hook.consequence());
        let text = format!(
            "`{hook}` was set on a runtime's builder after `Scope::watch` and replaced loopscope's hook: {consequence}; \
             pass it to `Scope::watch_with` instead"
        );
        tracing::warn!(target: "loopscope", hook, "{text}");
        if self.has_terminal_output() {
            let _ = writeln!(io::stderr().lock(), "loopscope: {text}");
        }
    }

    /// Returns whether reports are also printed to stderr.
    fn has_terminal_output(&self) -> bool {
        match self.terminal {
            Terminal::Auto => io::stderr().is_terminal(),
            Terminal::Always => true,
            Terminal::Never => false,
        }
    }
}

#[cfg(feature = "diagnostic")]
fn print_report(finding: &Finding, suppressed_reports: u64) {
    let color =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut text = diagnostic::diagnostic(finding, color);
    if suppressed_reports > 0 {
        let reports = count(suppressed_reports, "report was", "reports were");
        text.push_str(&format!("loopscope: {reports} suppressed since the previous one\n"));
    }
    // An error of stderr cannot be reported anywhere.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(not(feature = "diagnostic"))]
fn print_report(finding: &Finding, suppressed_reports: u64) {
    let site = finding.site.as_ref().map(ToString::to_string).unwrap_or_default();
    let text = format!(
        "loopscope: {} blocked the event loop at {site}; {suppressed_reports} reports suppressed\n",
        finding.cause
    );
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
