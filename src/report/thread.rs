//! The thread that turns evidence into findings and reports them. Symbolising
//! and writing to a terminal may take long, so the watchdog does neither.

use std::collections::HashSet;
use std::io;
#[cfg(feature = "diagnostic")]
use std::io::IsTerminal;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use crate::diagnose::symbols::Symbols;
use crate::diagnose::verdict::{self, StallVerdict};
use crate::evidence::{LONG_STALL_NANOS, Message, Phase, StallEvidence, StallKey};
use crate::finding::{Finding, TaskInfo};
use crate::findings::Findings;
use crate::fork::{self, WritingReport};
use crate::outbox::Outbox;
use crate::owned_thread::OwnedThread;
use crate::record::hook_status::Hook;
use crate::record::recorder::Recorder;
#[cfg(feature = "diagnostic")]
use crate::report::diagnostic;
use crate::report::event;
#[cfg(feature = "diagnostic")]
use crate::report::text::count;
use crate::self_metrics::{DropReason, SelfMetrics};
use crate::settings::Terminal;
use crate::stderr;
use crate::token_bucket::TokenBucket;

/// The application's callback for findings.
pub(crate) type OnFinding = Box<dyn Fn(&Finding) + Send + Sync>;

/// The average number of reports per minute, and the maximum number in a burst.
const MAX_REPORTS_PER_MINUTE: u32 = 5;

/// A handle to the thread. Dropping it waits for the thread's end, after the
/// watchdog's last message; messages before that are handled first.
#[derive(Debug)]
pub(crate) struct Reporter {
    thread: OwnedThread,
}

impl Reporter {
    /// Starts the thread.
    pub(crate) fn start(
        recorder: &Arc<Recorder>,
        self_metrics: &Arc<SelfMetrics>,
        findings: &Arc<Findings>,
        outbox: &Arc<Outbox>,
        terminal: Terminal,
        max_debug_info_memory: u64,
        on_finding: Option<OnFinding>,
    ) -> io::Result<Self> {
        let budget = TokenBucket::new(
            MAX_REPORTS_PER_MINUTE,
            f64::from(MAX_REPORTS_PER_MINUTE) / 60.0,
            Instant::now(),
        );
        let (recorder, self_metrics, findings, outbox) =
            (Arc::clone(recorder), Arc::clone(self_metrics), Arc::clone(findings), Arc::clone(outbox));
        // Opens the program's file, because there may be no free descriptor
        // later.
        let symbols = Symbols::new(max_debug_info_memory);
        let thread = OwnedThread::spawn("loopscope-report", move || {
            let mut reporter = ReporterLoop {
                recorder,
                self_metrics,
                findings,
                symbols,
                budget,
                terminal,
                on_finding,
                suppressed_reports: 0,
                reported: HashSet::new(),
            };
            reporter.run(&outbox);
        })?;
        Ok(Self { thread })
    }

    /// Returns whether the calling thread is this thread: it runs the
    /// application's callback or subscriber.
    pub(crate) fn is_current(&self) -> bool {
        self.thread.is_current()
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
    /// The long stalls that were reported before their end.
    reported: HashSet<StallKey>,
}

impl ReporterLoop {
    fn run(&mut self, outbox: &Outbox) {
        let generation = fork::generation();
        // The callback or a subscriber may fork. The child ends this loop,
        // because no message would come.
        while fork::generation() == generation
            && let Some(message) = outbox.receive()
        {
            // A message that cannot be handled must not end the reports.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| self.handle(message)));
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Stall(stall) => self.add_stall(&stall),
            Message::Progress { key, duration_nanos, times } => {
                self.findings.add_progress(key, duration_nanos, times);
            }
            Message::Wait(wait) => self.findings.add_wait(wait),
            Message::Replaced(hook) => self.report_replaced_hook(hook),
            Message::SignalTaken { given_up, replacement } => {
                self.report_signal_change(given_up, replacement);
            }
            Message::NoStall(key) => self.retract(key),
        }
    }

    fn retract(&mut self, key: StallKey) {
        self.reported.remove(&key);
        self.findings.retract_stall(key);
    }

    fn add_stall(&mut self, stall: &StallEvidence) {
        let parts = match verdict::judge(stall, &mut self.symbols) {
            StallVerdict::Blocked(parts) => parts,
            StallVerdict::Starved => {
                if matches!(stall.phase, Phase::Ended) {
                    self.self_metrics.count_starvation(stall.times.own(), true);
                }
                return self.retract(stall.key);
            }
            // An earlier message about the stall may have added a finding.
            StallVerdict::Ignored => return self.retract(stall.key),
        };
        #[cfg(not(tokio_unstable))]
        if stall.kind == self.recorder.unnamed_kind && !verdict::is_single_poll(stall, &mut self.symbols) {
            // It may be several polls: no hook shows where one ends.
            return self.retract(stall.key);
        }
        let kind = self.recorder.kinds.get(stall.kind);
        let task = TaskInfo { kind: kind.name, spawned_at: kind.spawned_at };
        let added = self.findings.add_stall(stall, task, parts);
        // The stall may be over by now. Then its end reports it.
        let is_report_due = match stall.phase {
            Phase::Began => false,
            Phase::Lasts => self.is_in_progress(stall) && self.reported.insert(stall.key),
            Phase::Ended => !self.reported.remove(&stall.key) && stall.times.own() >= LONG_STALL_NANOS,
        };
        for added in added {
            let Ok(added) = added else {
                self.self_metrics.count_dropped(DropReason::TooManyFindings, 1);
                continue;
            };
            let is_repeated = stall.phase == Phase::Ended && added.ended_stalls.is_power_of_two();
            if is_report_due || is_repeated {
                self.report(&added.finding);
            }
        }
    }

    fn is_in_progress(&self, stall: &StallEvidence) -> bool {
        self.recorder.polls_in_progress().age_nanos(stall.key, stall.start_nanos).is_some()
    }

    /// Reports a finding. Each output may take long, so each gets the finding
    /// as it is then.
    ///
    /// Of the stalls whose ends are not known, it includes those that were
    /// reported as lasting. The others follow in the report of their ends. So
    /// no two reports of a finding have the same count, and none is lower than
    /// the one before.
    fn report(&mut self, id: &str) {
        let is_reported = |key| self.reported.contains(&key);
        let finding = || self.findings.for_report(id, &self.recorder.polls_in_progress(), is_reported);
        if let Some(callback) = &self.on_finding
            && let Some(finding) = finding()
        {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| callback(&finding)));
        }
        if !self.budget.take(Instant::now()) {
            self.suppressed_reports += 1;
            self.self_metrics.count_suppressed_report();
            return;
        }
        let suppressed_reports = std::mem::take(&mut self.suppressed_reports);
        let _writing = WritingReport::begin();
        if let Some(finding) = finding() {
            let _ = panic::catch_unwind(AssertUnwindSafe(|| event::emit(&finding, suppressed_reports)));
        }
        if self.terminal.is_shown()
            && let Some(finding) = finding()
        {
            print_report(&finding, suppressed_reports);
        }
    }

    fn report_replaced_hook(&self, hook: Hook) {
        let (hook, consequence) = (hook.name(), hook.consequence());
        let text = format!(
            "`{hook}` was set on a runtime's builder after `Scope::watch` and replaced loopscope's hook: {consequence}; \
             pass it to `Scope::watch_with` instead"
        );
        let _writing = WritingReport::begin();
        tracing::warn!(target: "loopscope", hook, "{text}");
        self.print(&text);
    }

    fn report_signal_change(&self, given_up: Option<i32>, replacement: Option<i32>) {
        let reason = match given_up {
            Some(signal) => format!("other code has installed a handler of signal {signal}"),
            None => "other code has a handler of every real-time signal".to_owned(),
        };
        let consequence = match replacement {
            Some(signal) => format!("stacks are copied with signal {signal} from now on"),
            None => "stacks of threads that compute are no longer copied".to_owned(),
        };
        let text = format!("{reason}: {consequence}");
        let _writing = WritingReport::begin();
        tracing::warn!(target: "loopscope", given_up, replacement, "{text}");
        self.print(&text);
    }

    /// Prints a line to stderr, if reports are printed there.
    fn print(&self, text: &str) {
        if self.terminal.is_shown() {
            stderr::print(&format!("loopscope: {text}\n"));
        }
    }
}

#[cfg(feature = "diagnostic")]
fn print_report(finding: &Finding, suppressed_reports: u64) {
    let color =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut text = diagnostic::for_stderr(finding, color);
    if suppressed_reports > 0 {
        let reports = count(suppressed_reports, "report was", "reports were");
        text.push_str(&format!("loopscope: {reports} suppressed since the previous one\n"));
    }
    stderr::print(&text);
}

#[cfg(not(feature = "diagnostic"))]
fn print_report(finding: &Finding, suppressed_reports: u64) {
    let site = finding.site.as_ref().map(ToString::to_string).unwrap_or_default();
    let text = format!(
        "loopscope: {} blocked the event loop at {site}; {suppressed_reports} reports suppressed\n",
        finding.cause
    );
    stderr::print(&text);
}
