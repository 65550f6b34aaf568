//! What reports and findings state is proven, and it is complete after a flush.
#![cfg(all(target_os = "linux", target_arch = "x86_64", tokio_unstable))]

mod common;

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use common::{eventually, runtime};
use loopscope::{Finding, Scope, Terminal};
use tokio::sync::Notify;
use tracing::{Event, Metadata, Subscriber, span};

const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

fn flush(scope: &Scope) {
    assert!(scope.flush(FLUSH_TIMEOUT), "{:#?}", scope.findings());
    // A worker may report a short wait after the flush.
    eventually("the last waits", || (scope.findings().pending == 0).then_some(()));
}

/// Starts a scope that sends its reports to the receiver. `delay` is how long
/// the callback takes.
fn reporting_scope(delay: Duration) -> (Scope, Receiver<Finding>) {
    let (reported, reports) = mpsc::channel();
    let on_finding = move |finding: &Finding| {
        drop(reported.send(finding.clone()));
        thread::sleep(delay);
    };
    (Scope::builder().terminal(Terminal::Never).on_finding(on_finding).start().unwrap(), reports)
}

/// Returns how many long polls were not counted because the watchdog had no
/// CPU, or because their threads had none.
fn missed(scope: &Scope) -> u64 {
    let dropped = scope.snapshot().observer.dropped;
    let before_capture = dropped.iter().find(|(reason, _)| *reason == "ended_before_capture");
    before_capture.map_or(0, |(_, n)| *n) + scope.findings().starved.count
}

/// Reading the debug information for the first finding takes longer than all
/// stalls together.
#[test]
fn the_first_reports_state_no_more_than_what_happened() {
    let (scope, reports) = reporting_scope(Duration::ZERO);
    let runtime = runtime(&scope, 2);
    let begin = Instant::now();
    runtime.block_on(async {
        let stall = || async { thread::sleep(Duration::from_millis(30)) };
        let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(stall())).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let elapsed = begin.elapsed();
    flush(&scope);
    let reports: Vec<_> = reports.try_iter().collect();
    assert!(!reports.is_empty());
    for report in &reports {
        assert_eq!(report.ongoing, None, "{report:#?}");
        assert!(report.max <= elapsed, "{:?} in {elapsed:?}", report.max);
    }
    let mut sites: Vec<_> = reports.iter().map(|report| report.id.clone()).collect();
    sites.dedup();
    for id in sites {
        let of_site: Vec<_> = reports.iter().filter(|report| report.id == id).collect();
        for pair in of_site.windows(2) {
            assert!(pair[0].count < pair[1].count, "{} and {} stalls", pair[0].count, pair[1].count);
            assert!(pair[0].total <= pair[1].total, "{:?} and {:?}", pair[0].total, pair[1].total);
        }
    }
}

#[test]
fn a_slow_callback_loses_no_end_of_a_stall() {
    const ROUNDS: u64 = 12;
    let (scope, _reports) = reporting_scope(Duration::from_millis(200));
    let runtime = runtime(&scope, 4);
    let notify = Arc::new(Notify::new());
    for _ in 0..5_000 {
        let notify = Arc::clone(&notify);
        runtime.spawn(async move {
            loop {
                notify.notified().await;
            }
        });
    }
    runtime.block_on(async {
        for _ in 0..ROUNDS {
            notify.notify_waiters();
            let stall = || async { thread::sleep(Duration::from_millis(30)) };
            let tasks: Vec<_> = (0..4).map(|_| loopscope::spawn("stall", stall())).collect();
            for task in tasks {
                task.await.unwrap();
            }
        }
    });
    runtime.shutdown_timeout(FLUSH_TIMEOUT);
    flush(&scope);
    let findings = scope.findings().findings;
    assert!(findings.iter().all(|finding| finding.ongoing.is_none()), "{findings:#?}");
    assert!(scope.stalls(None).stalls.iter().all(|stall| stall.end.is_some()));
    let shares = findings.iter().flat_map(|finding| &finding.tasks);
    let counted: u64 = shares.filter(|share| share.kind == "stall").map(|share| share.count).sum();
    assert!(counted <= 4 * ROUNDS && counted + missed(&scope) >= 4 * ROUNDS, "{counted} stalls");
}

#[test]
fn findings_are_complete_after_a_flush() {
    let scope = common::scope();
    let runtime = runtime(&scope, 1);
    scope.block_on(&runtime, async { thread::sleep(common::STALL) });
    let before = scope.findings();
    assert!(before.pending > 0 || !before.findings.is_empty(), "{before:#?}");
    flush(&scope);
    let [finding] = &scope.findings().findings[..] else { panic!("{:#?}", scope.findings()) };
    assert_eq!((finding.count, finding.ongoing), (1, None));
    // The end is part of it, except for time in which the thread had no CPU.
    assert!(finding.total + finding.split.not_own() >= common::STALL / 2, "{finding:#?}");
}

#[test]
fn a_flush_ends_the_sleep_of_an_idle_watchdog() {
    let scope = common::scope();
    let runtime = runtime(&scope, 1);
    // The watchdog sleeps after one second without polls.
    thread::sleep(Duration::from_millis(1_500));
    flush(&scope);
    drop(runtime);
}

#[test]
fn a_flush_in_a_callback_returns_at_once() {
    let scope_in_callback = Arc::new(Mutex::new(None::<Arc<Scope>>));
    let (flushed, results) = mpsc::channel();
    let of_callback = Arc::clone(&scope_in_callback);
    let on_finding = move |_: &Finding| {
        if let Some(scope) = of_callback.lock().unwrap().take() {
            flushed.send(scope.flush(FLUSH_TIMEOUT)).unwrap();
        }
    };
    let scope = Scope::builder().terminal(Terminal::Never).on_finding(on_finding).start().unwrap();
    let scope = Arc::new(scope);
    *scope_in_callback.lock().unwrap() = Some(Arc::clone(&scope));
    let runtime = runtime(&scope, 1);
    scope.block_on(&runtime, async { thread::sleep(common::STALL) });
    flush(&scope);
    assert!(!results.recv_timeout(FLUSH_TIMEOUT).unwrap());
}

/// A subscriber that panics at loopscope's events.
struct PanickingSubscriber;

impl Subscriber for PanickingSubscriber {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("loopscope")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("the subscriber panics");
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_panic_in_the_subscriber_does_not_end_the_reports() {
    static SUBSCRIBE: Once = Once::new();
    SUBSCRIBE.call_once(|| tracing::subscriber::set_global_default(PanickingSubscriber).unwrap());
    let (scope, reports) = reporting_scope(Duration::ZERO);
    let runtime = runtime(&scope, 1);
    for _ in 0..2 {
        scope.block_on(&runtime, async { thread::sleep(common::STALL) });
    }
    flush(&scope);
    let counts: Vec<_> = reports.try_iter().map(|report| report.count).collect();
    assert_eq!(counts, [1, 2]);
}
