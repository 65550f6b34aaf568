//! What a scope watches: one event at its start, and warnings of what it does
//! not see. Silence must not be taken for health.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::per_process::PerProcess;
use crate::report::text::{count, duration};
use crate::settings::Terminal;

/// The first audit comes this long after the start of the scope. The time
/// between two audits doubles.
const FIRST_AUDIT_AFTER: Duration = Duration::from_secs(5);
/// The last audit comes about three hours after the start of the scope.
const MAX_AUDITS: u32 = 12;

/// Why not every task is watched, and what to do.
const FLAG_MISSING: &str = "it was built without `--cfg tokio_unstable`; set `rustflags = [\"--cfg\", \
     \"tokio_unstable\"]` under `[build]` in `.cargo/config.toml`, and where the environment has `RUSTFLAGS`, add \
     `--cfg tokio_unstable` there: it replaces the setting in the file";

/// What is said at the start of a scope.
#[derive(Debug)]
pub(crate) struct StartNotice {
    threshold: Duration,
    terminal: Terminal,
    telemetry: Option<SocketAddr>,
    is_emitted: AtomicBool,
}

impl StartNotice {
    pub(crate) fn new(threshold: Duration, terminal: Terminal, telemetry: Option<SocketAddr>) -> Self {
        Self { threshold, terminal, telemetry, is_emitted: AtomicBool::new(false) }
    }

    pub(crate) fn terminal(&self) -> Terminal {
        self.terminal
    }

    pub(crate) fn telemetry(&self) -> Option<SocketAddr> {
        self.telemetry
    }

    /// Emits the event, if a subscriber takes it and has not got it before. The
    /// subscriber may be set after the start of the scope.
    pub(crate) fn emit(&self) {
        // A subscriber that is asked must get an event: filters of single
        // layers keep their answers for it.
        if !self.is_emitted.load(Relaxed)
            && tracing::event_enabled!(target: "loopscope", tracing::Level::INFO)
            && !self.is_emitted.swap(true, Relaxed)
        {
            tracing::info!(
                target: "loopscope",
                all_tasks = cfg!(tokio_unstable),
                threshold_seconds = self.threshold.as_secs_f64(),
                terminal = self.terminal.as_str(),
                telemetry = self.telemetry.map(tracing::field::display),
                "{}",
                self.text(cfg!(tokio_unstable)),
            );
        }
    }

    fn text(&self, has_flag: bool) -> String {
        let watched = if has_flag {
            "watches every task of the runtimes whose builders are passed to `Scope::watch`, and named futures"
                .to_owned()
        } else {
            format!("watches named futures, and of other tasks only that a worker is stuck: {FLAG_MISSING}")
        };
        let stderr = match self.terminal {
            Terminal::Auto => {
                ", and on stderr where no subscriber takes them (with `LOOPSCOPE_TERMINAL=always` in any case)"
            }
            Terminal::Always => ", and on stderr",
            Terminal::Never => "",
        };
        let telemetry = match self.telemetry {
            Some(address) => format!("; telemetry is at http://{address}/"),
            None => String::new(),
        };
        let threshold = duration(self.threshold);
        format!(
            "{watched}; reports polls of {threshold} or longer as events of `loopscope::blocking`{stderr}{telemetry}"
        )
    }
}

/// A thread that waits for events as the driver of a Tokio runtime does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DriverThread {
    pub(crate) tid: i32,
    pub(crate) name: &'static str,
}

/// What an audit has found.
#[derive(Debug)]
pub(crate) struct CoverageFacts {
    /// Whether the scope has seen a thread of a runtime or a named future, or
    /// has hooks in the builder of a runtime.
    pub(crate) has_watched: bool,
    /// Whether the scope has hooks in a runtime.
    pub(crate) has_hooks: bool,
    /// The threads that no scope of the process watches.
    pub(crate) unwatched: Vec<DriverThread>,
}

/// Warnings that are given once in each process.
#[derive(Debug, Default)]
struct ProcessWarnings {
    threads: AtomicBool,
    flag: AtomicBool,
}

static WARNINGS: PerProcess<ProcessWarnings> = PerProcess::new();

/// When to look for what the scope does not see.
#[derive(Debug)]
pub(crate) struct CoverageAudit {
    due: Option<Instant>,
    interval: Duration,
    audits: u32,
    has_warned: bool,
}

impl CoverageAudit {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            due: now.checked_add(FIRST_AUDIT_AFTER),
            interval: FIRST_AUDIT_AFTER,
            audits: 0,
            has_warned: false,
        }
    }

    /// Creates an audit that is never due.
    pub(crate) fn none() -> Self {
        Self { due: None, interval: FIRST_AUDIT_AFTER, audits: 0, has_warned: false }
    }

    /// Returns when the next audit is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns whether an audit is due, and sets the time of the next one.
    pub(crate) fn begin(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.audits += 1;
            self.due = now.checked_add(self.interval).filter(|_| self.audits < MAX_AUDITS);
            self.interval = self.interval.saturating_mul(2);
        }
        is_due
    }

    /// Returns the warnings that are due. Each is given once.
    pub(crate) fn warnings(&mut self, facts: &CoverageFacts) -> Vec<String> {
        let given = WARNINGS.get();
        let mut warnings = Vec::new();
        if !facts.unwatched.is_empty() && !given.threads.swap(true, Relaxed) {
            warnings.push(unwatched_threads(&facts.unwatched));
            // The warning says what there is to watch.
            self.has_warned = true;
        }
        if !facts.has_watched && !self.has_warned {
            self.has_warned = true;
            warnings.push(nothing_watched());
        }
        if !cfg!(tokio_unstable) && facts.has_hooks && !given.flag.swap(true, Relaxed) {
            warnings.push(format!("not every task is watched: {FLAG_MISSING}"));
        }
        warnings
    }
}

fn nothing_watched() -> String {
    format!(
        "nothing is watched: since the scope started {} ago, no runtime was built from a builder that was passed to \
         `Scope::watch`, and no future that is named with `.named(..)` or `loopscope::spawn` was polled",
        duration(FIRST_AUDIT_AFTER)
    )
}

fn unwatched_threads(threads: &[DriverThread]) -> String {
    let mut names: Vec<_> = threads.iter().map(|thread| thread.name).collect();
    names.sort_unstable();
    names.dedup();
    let run = if threads.len() == 1 { "runs" } else { "run" };
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "no scope watches {} named {}, which {run} an event loop: blocking calls there are not found; pass the \
         builder of that runtime to `Scope::watch` before `build` (`#[tokio::main]` and some frameworks build it \
         themselves), or name its futures with `.named(..)`",
        count(threads.len() as u64, "thread", "threads"),
        names.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(has_watched: bool, names: &[&'static str]) -> CoverageFacts {
        let unwatched = names.iter().map(|name| DriverThread { tid: 1, name });
        CoverageFacts { has_watched, has_hooks: false, unwatched: unwatched.collect() }
    }

    #[test]
    fn the_start_says_what_is_watched_from_when_on_and_where_reports_go() {
        let address = Some("127.0.0.1:9464".parse().unwrap());
        let notice = StartNotice::new(Duration::from_millis(25), Terminal::Auto, address);
        assert_eq!(
            notice.text(true),
            "watches every task of the runtimes whose builders are passed to `Scope::watch`, and named futures; \
             reports polls of 25 ms or longer as events of `loopscope::blocking`, and on stderr where no subscriber \
             takes them (with `LOOPSCOPE_TERMINAL=always` in any case); telemetry is at http://127.0.0.1:9464/"
        );
        let text = StartNotice::new(Duration::from_millis(25), Terminal::Never, None).text(false);
        assert!(text.starts_with("watches named futures, and of other tasks only"), "{text}");
        assert!(text.contains("the environment has `RUSTFLAGS`"), "{text}");
        assert!(text.ends_with("as events of `loopscope::blocking`"), "{text}");
    }

    /// The only test that uses the warnings of threads.
    #[test]
    fn each_warning_is_given_once() {
        let now = Instant::now();
        let warnings = CoverageAudit::new(now).warnings(&facts(true, &[]));
        assert!(warnings.is_empty(), "{warnings:?}");
        let mut audit = CoverageAudit::new(now);
        let [warning] = &audit.warnings(&facts(false, &[]))[..] else { panic!("one warning") };
        assert!(warning.starts_with("nothing is watched: since the scope started 5 s ago, "), "{warning}");
        assert!(audit.warnings(&facts(false, &[])).is_empty());
        let names = ["tokio-rt-worker", "actix-rt|system", "tokio-rt-worker"];
        let mut second = CoverageAudit::new(now);
        let [warning] = &second.warnings(&facts(false, &names))[..] else { panic!("one warning") };
        let begin = "no scope watches 3 threads named `actix-rt|system` and `tokio-rt-worker`, ";
        assert!(warning.starts_with(begin), "{warning}");
        assert!(second.warnings(&facts(false, &names)).is_empty());
    }

    #[cfg(not(tokio_unstable))]
    #[test]
    fn a_build_without_the_flag_is_warned_of_once() {
        let facts = CoverageFacts { has_hooks: true, ..facts(true, &[]) };
        let mut audit = CoverageAudit::new(Instant::now());
        let [warning] = &audit.warnings(&facts)[..] else { panic!("one warning") };
        assert!(warning.contains("`RUSTFLAGS`") && warning.contains("`.cargo/config.toml`"), "{warning}");
        assert!(audit.warnings(&facts).is_empty());
    }

    #[test]
    fn audits_become_rare_and_end() {
        let begin = Instant::now();
        let mut audit = CoverageAudit::new(begin);
        assert!(!audit.begin(begin));
        let mut times = Vec::new();
        while let Some(due) = audit.due() {
            assert!(audit.begin(due));
            times.push(due.duration_since(begin).as_secs());
        }
        assert_eq!(times.len(), MAX_AUDITS as usize);
        assert_eq!(times[..4], [5, 10, 20, 40]);
        assert_eq!(times.last(), Some(&(5 << 11)));
    }
}
