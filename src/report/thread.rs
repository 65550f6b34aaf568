//! The thread that turns evidence into findings and reports them. Symbolising
//! and writing to a terminal may take long, so the watchdog does neither.

use std::collections::HashSet;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::diagnose::symbols::Symbols;
use crate::diagnose::verdict::{self, StallVerdict};
use crate::evidence::{LONG_STALL_NANOS, Message, Phase, StallEvidence, StallKey};
use crate::finding::{Finding, TaskInfo};
use crate::findings::Findings;
use crate::fork::{self, WritingReport};
use crate::lock::Lock;
use crate::outbox::{Outbox, Received};
use crate::owned_thread::OwnedThread;
use crate::process::Process;
use crate::record::hook_status::Hook;
use crate::record::live_recorders;
use crate::record::recorder::Recorder;
use crate::report::budget::{ReportBudget, ReportForm};
use crate::report::coverage::{CoverageAudit, CoverageFacts, StartNotice};
#[cfg(feature = "diagnostic")]
use crate::report::diagnostic;
use crate::report::event::EventText;
use crate::report::lines::PlaceList;
use crate::report::output::Output;
use crate::report::{driver_threads, event, lines};
use crate::self_metrics::{DropReason, SelfMetrics};

/// The application's callback for findings.
pub(crate) type OnFinding = Box<dyn Fn(&Finding) + Send + Sync>;

/// A handle to the thread. Dropping it waits for the thread's end, after the
/// watchdog's last message; messages before that are handled first.
#[derive(Debug)]
pub(crate) struct Reporter {
    thread: OwnedThread,
}

impl Reporter {
    /// Returns a reader of the symbols of `process`, which others may use as
    /// well. Opens the program's file, because there may be no free descriptor
    /// later.
    pub(crate) fn symbols(process: Process, max_debug_info_memory: u64) -> Arc<Lock<Symbols>> {
        Arc::new(Lock::new(Symbols::new(process, max_debug_info_memory)))
    }

    /// Starts the thread. Findings are in the code of `process`. Only what this
    /// process does not watch of itself is warned of.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn start(
        process: Process,
        recorder: &Arc<Recorder>,
        self_metrics: &Arc<SelfMetrics>,
        findings: &Arc<Findings>,
        outbox: &Arc<Outbox>,
        start_notice: &Arc<StartNotice>,
        symbols: &Arc<Lock<Symbols>>,
        on_finding: Option<OnFinding>,
    ) -> io::Result<Self> {
        let (recorder, self_metrics, findings, outbox) =
            (Arc::clone(recorder), Arc::clone(self_metrics), Arc::clone(findings), Arc::clone(outbox));
        let (start_notice, symbols) = (Arc::clone(start_notice), Arc::clone(symbols));
        let thread = OwnedThread::spawn("loopscope-report", move || {
            let now = Instant::now();
            let mut reporter = ReporterLoop {
                recorder,
                self_metrics,
                findings,
                symbols,
                budget: ReportBudget::new(now),
                coverage: if process == Process::Own {
                    CoverageAudit::new(now)
                } else {
                    CoverageAudit::none()
                },
                output: Output::new(start_notice.terminal()),
                start_notice,
                on_finding,
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
    symbols: Arc<Lock<Symbols>>,
    budget: ReportBudget,
    coverage: CoverageAudit,
    output: Output,
    start_notice: Arc<StartNotice>,
    on_finding: Option<OnFinding>,
    /// The long stalls that were reported before their end.
    reported: HashSet<StallKey>,
}

impl ReporterLoop {
    fn run(&mut self, outbox: &Outbox) {
        let generation = fork::generation();
        // The callback or a subscriber may fork. The child ends this loop,
        // because no message would come.
        while fork::generation() == generation {
            let due = [self.budget.notice_due(), self.coverage.due(), self.output.check_due()];
            let received = outbox.receive(due.into_iter().flatten().min());
            let is_closed = matches!(received, Received::Closed);
            // What cannot be handled must not end the reports.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| match received {
                Received::Message(message) => self.handle(message),
                Received::Nothing => (),
                Received::Closed => self.summarise(),
            }));
            if fork::generation() != generation {
                return;
            }
            if is_closed {
                return self.output.end();
            }
            let _ = panic::catch_unwind(AssertUnwindSafe(|| self.do_what_is_due(Instant::now())));
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        self.output.check(now);
        if let Some(withheld) = self.budget.take_notice(now) {
            let places = withheld.findings.len();
            let mut findings = self.findings.all(&self.recorder.polls_in_progress());
            findings.retain(|finding| withheld.findings.contains(&finding.id));
            let all = lines::where_all_are(self.start_notice.telemetry());
            self.warn_of_places(&lines::withheld(withheld.reports, places, &findings, all));
        }
        if self.coverage.begin(now) {
            let facts = CoverageFacts {
                has_watched: self.recorder.has_watched(),
                has_hooks: !self.recorder.hook_statuses().is_empty(),
                // A thread that begins to be watched in between is not found.
                unwatched: driver_threads::without(
                    driver_threads::find(),
                    &live_recorders::watched_threads(),
                ),
            };
            let _writing = WritingReport::begin();
            self.start_notice.emit();
            for warning in self.coverage.warnings(&facts) {
                self.warn(&warning);
            }
        }
    }

    /// Reports the sums of all findings, at the end of the scope.
    fn summarise(&mut self) {
        let findings = self.findings.all(&self.recorder.polls_in_progress());
        if !findings.is_empty() {
            let threshold = Duration::from_nanos(self.recorder.threshold_nanos);
            let withheld = self.self_metrics.suppressed_reports();
            self.warn_of_places(&lines::summary(&findings, threshold, withheld));
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
        let verdict = verdict::judge(stall, &mut self.symbols.lock());
        let parts = match verdict {
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
        if stall.kind == self.recorder.unnamed_kind
            && !verdict::is_single_poll(stall, &mut self.symbols.lock())
        {
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
        let form = self.budget.take(id, Instant::now());
        if form == ReportForm::Withheld {
            self.self_metrics.count_suppressed_report();
            return;
        }
        let suppressed_reports = self.budget.take_suppressed();
        let is_repeat = form == ReportForm::Repeat;
        let _writing = WritingReport::begin();
        let mut is_taken = false;
        if let Some(finding) = finding() {
            let text = event::text(&finding, is_repeat);
            let text = EventText::new(&text);
            let emit = || event::emit(&finding, &text, suppressed_reports, is_repeat);
            let _ = panic::catch_unwind(AssertUnwindSafe(emit));
            is_taken = text.is_taken();
        }
        if let Some(finding) = finding() {
            self.output.print(is_taken, |color| {
                if is_repeat {
                    format!("loopscope: {}\n", lines::repeat(&finding))
                } else {
                    draw(&finding, color)
                }
            });
        }
    }

    fn report_replaced_hook(&mut self, hook: Hook) {
        let (hook, consequence) = (hook.name(), hook.consequence());
        let text = format!(
            "`{hook}` was set on a runtime's builder after `Scope::watch` and replaced loopscope's hook: {consequence}; \
             pass it to `Scope::watch_with` instead"
        );
        self.warn_with(&text, &text, |text| tracing::warn!(target: "loopscope", hook, "{text}"));
    }

    fn report_signal_change(&mut self, given_up: Option<i32>, replacement: Option<i32>) {
        let reason = match given_up {
            Some(signal) => format!("other code has installed a handler of signal {signal}"),
            None => "other code has a handler of every real-time signal".to_owned(),
        };
        let consequence = match replacement {
            Some(signal) => format!("stacks are copied with signal {signal} from now on"),
            None => "stacks of threads that compute are no longer copied".to_owned(),
        };
        let text = format!("{reason}: {consequence}");
        let emit =
            |text: &EventText<'_>| tracing::warn!(target: "loopscope", given_up, replacement, "{text}");
        self.warn_with(&text, &text, emit);
    }

    fn warn(&mut self, text: &str) {
        self.warn_with(text, text, |text| tracing::warn!(target: "loopscope", "{text}"));
    }

    fn warn_of_places(&mut self, list: &PlaceList) {
        self.warn_with(&list.lines(), &list.line(), |text| tracing::warn!(target: "loopscope", "{text}"));
    }

    /// Emits an event with the message `line`, and prints the text if that is
    /// to be seen on stderr. The subscriber may panic.
    fn warn_with(&mut self, text: &str, line: &str, emit: impl FnOnce(&EventText<'_>)) {
        let _writing = WritingReport::begin();
        let line = EventText::new(line);
        let _ = panic::catch_unwind(AssertUnwindSafe(|| emit(&line)));
        self.output.print(line.is_taken(), |_| format!("loopscope: {text}\n"));
    }
}

#[cfg(feature = "diagnostic")]
fn draw(finding: &Finding, color: bool) -> String {
    diagnostic::for_stderr(finding, color)
}

#[cfg(not(feature = "diagnostic"))]
fn draw(finding: &Finding, _color: bool) -> String {
    format!("loopscope: {}\n", event::message(finding))
}
