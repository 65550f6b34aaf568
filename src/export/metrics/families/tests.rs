//! Checks that every field and every metric is exported, and that the text is
//! valid for Prometheus.

use std::collections::BTreeSet;

use prometheus::core::Collector as _;
use prometheus::{Registry, TextEncoder};

use super::*;
use crate::export::fake::{FakeSource, distribution, snapshot};
use crate::export::metrics::prometheus::{Collector, to_proto};
use crate::recording::Recording;
use crate::report::sample;
use crate::snapshot::{
    BlockingCallSnapshot, CauseSnapshot, LoopLagSnapshot, ObserverSnapshot, PressureSnapshot, RuntimeSnapshot,
};

fn text(snapshot: &Snapshot, findings: Vec<Finding>) -> String {
    let families = to_proto(families(snapshot, &findings));
    TextEncoder::new().encode_to_string(&families).unwrap()
}

/// Fails unless `line` is one of the lines of `text`.
#[track_caller]
fn assert_has_line(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "no line `{line}` in:\n{text}");
}

#[test]
fn all_metrics_are_emitted_in_the_order_of_the_catalogue() {
    let families = families(&snapshot(), &[sample::sleep()]);
    let emitted: Vec<_> = families.iter().map(|family| family.metric.name.to_owned()).collect();
    let expected: Vec<_> = c::ALL.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(emitted, expected);
}

#[test]
fn what_was_never_measured_is_absent() {
    let unmeasured =
        Snapshot { recording: Recording::Detect, has_recorded_in_full: false, is_paused: true, ..snapshot() };
    let text = text(&unmeasured, vec![]);
    for name in ["task_poll_duration", "task_schedule_delay", "worker_busy"] {
        assert!(!text.contains(&format!("loopscope_{name}_seconds")), "{name}: {text}");
    }
    assert_has_line(&text, "loopscope_recording_info{level=\"paused\"} 1");
    assert!(text.contains("loopscope_worker_polls_total{"), "{text}");
}

/// The patterns have no `..`: this test does not compile until a new field of
/// the snapshot is exported, or is listed here with the reason why it is not.
#[test]
fn every_field_of_the_snapshot_is_exported() {
    let Snapshot {
        threshold,
        recording,
        is_paused,
        has_recorded_in_full,
        kinds,
        workers,
        runtimes,
        blocking_calls,
        loop_lag,
        causes,
        starved,
        pressure,
        observer,
    } = snapshot();
    let text = text(&snapshot(), vec![]);
    // Without it, the histograms below would be absent.
    assert!(has_recorded_in_full && !is_paused);
    assert_has_line(&text, &format!("loopscope_recording_info{{level=\"{}\"}} 1", recording.as_str()));
    assert_has_line(&text, &format!("loopscope_blocking_threshold_seconds {}", seconds(threshold)));
    assert_has_line(&text, &format!("loopscope_starved_seconds_total {}", seconds(starved)));
    kinds.iter().for_each(|kind| kind_is_exported(&text, kind));
    workers.iter().for_each(|worker| worker_is_exported(&text, worker));
    runtimes.iter().for_each(|runtime| runtime_is_exported(&text, runtime));
    for BlockingCallSnapshot { name, queue_wait, run_time } in &blocking_calls {
        let label = format!("task=\"{name}\"");
        histogram_is_exported(&text, "loopscope_blocking_pool_queue_wait_seconds", &label, queue_wait);
        histogram_is_exported(&text, "loopscope_blocking_pool_run_seconds", &label, run_time);
    }
    for LoopLagSnapshot { name, lag, unanswered } in &loop_lag {
        let label = format!("loop=\"{name}\"");
        histogram_is_exported(&text, "loopscope_loop_lag_seconds", &label, lag);
        let age = seconds(unanswered.unwrap());
        assert_has_line(&text, &format!("loopscope_loop_lag_unanswered_seconds{{{label}}} {age}"));
    }
    let PressureSnapshot { some, full } = pressure;
    assert_has_line(&text, &format!("loopscope_pressure_seconds_total{{level=\"some\"}} {}", seconds(some)));
    assert_has_line(&text, &format!("loopscope_pressure_seconds_total{{level=\"full\"}} {}", seconds(full)));
    for CauseSnapshot { cause, durations } in &causes {
        let label = format!("cause=\"{cause}\"");
        assert_has_line(&text, &format!("loopscope_blocking_events_total{{{label}}} {}", durations.count));
        assert_has_line(
            &text,
            &format!("loopscope_blocking_seconds_total{{{label}}} {}", seconds(durations.sum)),
        );
        histogram_is_exported(&text, "loopscope_blocking_duration_seconds", &label, durations);
    }
    let ObserverSnapshot {
        watchdog_cpu,
        captures,
        dropped,
        capture_signal: _,
        signals_given_up,
        replaced_hooks,
    } = observer;
    assert_has_line(&text, &format!("loopscope_signals_given_up_total {signals_given_up}"));
    for hook in replaced_hooks {
        assert_has_line(&text, &format!("loopscope_hooks_replaced{{hook=\"{hook}\"}} 1"));
    }
    assert_has_line(&text, &format!("loopscope_watchdog_cpu_seconds_total {}", seconds(watchdog_cpu)));
    for (result, count) in captures {
        assert_has_line(&text, &format!("loopscope_captures_total{{result=\"{result}\"}} {count}"));
    }
    for (reason, count) in dropped {
        assert_has_line(&text, &format!("loopscope_dropped_total{{reason=\"{reason}\"}} {count}"));
    }
}

fn kind_is_exported(text: &str, kind: &KindSnapshot) {
    let KindSnapshot {
        name,
        poll_time,
        schedule_delay,
        spawned,
        completed,
        self_wakes,
        lost_wakers,
        never_yielded,
        large_futures,
        largest_future_bytes,
    } = kind;
    let label = format!("task=\"{name}\"");
    histogram_is_exported(text, "loopscope_task_poll_duration_seconds", &label, poll_time);
    histogram_is_exported(text, "loopscope_task_schedule_delay_seconds", &label, schedule_delay);
    assert_has_line(text, &format!("loopscope_tasks_spawned_total{{{label}}} {spawned}"));
    assert_has_line(text, &format!("loopscope_tasks_completed_total{{{label}}} {completed}"));
    assert_has_line(text, &format!("loopscope_tasks_alive{{{label}}} {}", spawned - completed));
    for (lint, count) in [
        ("self-wake", self_wakes),
        ("lost-waker", lost_wakers),
        ("never-yielded", never_yielded),
        ("large-future", large_futures),
    ] {
        assert_has_line(text, &format!("loopscope_task_lints_total{{{label},lint=\"{lint}\"}} {count}"));
    }
    assert_has_line(text, &format!("loopscope_task_future_size_bytes{{{label}}} {largest_future_bytes}"));
}

fn histogram_is_exported(text: &str, name: &str, label: &str, histogram: &HistogramSnapshot) {
    // The largest value has no counterpart in a Prometheus histogram.
    let HistogramSnapshot { buckets: _, count, sum, max: _ } = histogram;
    assert_has_line(text, &format!("{name}_count{{{label}}} {count}"));
    assert_has_line(text, &format!("{name}_sum{{{label}}} {}", seconds(*sum)));
    for bound in BUCKETS {
        let at_most = histogram.count_at_most(bound);
        assert_has_line(text, &format!("{name}_bucket{{{label},le=\"{}\"}} {at_most}", seconds(bound)));
    }
    assert_has_line(text, &format!("{name}_bucket{{{label},le=\"+Inf\"}} {count}"));
}

fn worker_is_exported(text: &str, worker: &WorkerSnapshot) {
    let WorkerSnapshot {
        label,
        busy,
        polls,
        parks,
        local_queue_depth,
        active_poll,
        active_poll_own,
        runtime,
    } = worker;
    let label = format!("runtime=\"{runtime}\",worker=\"{label}\"");
    assert_has_line(text, &format!("loopscope_worker_busy_seconds_total{{{label}}} {}", seconds(*busy)));
    assert_has_line(text, &format!("loopscope_worker_polls_total{{{label}}} {polls}"));
    assert_has_line(text, &format!("loopscope_worker_parks_total{{{label}}} {parks}"));
    assert_has_line(text, &format!("loopscope_local_queue_depth{{{label}}} {}", local_queue_depth.unwrap()));
    if let Some(age) = active_poll {
        assert_has_line(text, &format!("loopscope_longest_active_poll_seconds {}", seconds(*age)));
    }
    if active_poll_own.is_some() {
        assert_has_line(text, "loopscope_workers_blocked 1");
    }
}

fn runtime_is_exported(text: &str, runtime: &RuntimeSnapshot) {
    let RuntimeSnapshot {
        workers,
        global_queue_depth,
        blocking_threads,
        idle_blocking_threads,
        blocking_queue_depth,
        name,
        alive_tasks,
    } = runtime;
    for (metric, value) in [
        ("workers", *workers),
        ("runtime_tasks_alive", *alive_tasks),
        ("global_queue_depth", *global_queue_depth),
        ("blocking_pool_threads", blocking_threads.unwrap()),
        ("blocking_pool_idle_threads", idle_blocking_threads.unwrap()),
        ("blocking_pool_queue_depth", blocking_queue_depth.unwrap()),
    ] {
        assert_has_line(text, &format!("loopscope_{metric}{{runtime=\"{name}\"}} {value}"));
    }
}

#[test]
fn starvation_is_not_a_cause_of_blocking() {
    assert!(!text(&snapshot(), vec![]).contains("cause=\"starved\""));
}

#[test]
fn values_that_tokio_does_not_provide_are_absent() {
    let mut snapshot = snapshot();
    snapshot.runtimes = vec![RuntimeSnapshot { workers: 2, ..RuntimeSnapshot::default() }];
    snapshot.workers.iter_mut().for_each(|worker| worker.local_queue_depth = None);
    let text = text(&snapshot, vec![]);
    for metric in ["threads", "idle_threads", "queue_depth"] {
        assert!(!text.contains(&format!("loopscope_blocking_pool_{metric}")), "{text}");
    }
    assert!(!text.contains("loopscope_local_queue_depth"), "{text}");
    assert_has_line(&text, "loopscope_workers{runtime=\"\"} 2");
}

/// A series that occurs twice makes the whole scrape invalid.
#[test]
fn kinds_workers_and_runtimes_of_the_same_name_are_summed_up() {
    let mut twice = snapshot();
    twice.kinds.extend(snapshot().kinds);
    twice.workers.extend(snapshot().workers);
    twice.runtimes.extend(snapshot().runtimes);
    let text = text(&twice, vec![sample::sleep(), sample::sleep()]);
    assert_has_line(&text, "loopscope_tasks_spawned_total{task=\"session\"} 2018");
    assert_has_line(&text, "loopscope_task_poll_duration_seconds_count{task=\"session\"} 8");
    assert_has_line(&text, "loopscope_worker_polls_total{runtime=\"api\",worker=\"0\"} 22004");
    assert_has_line(&text, "loopscope_local_queue_depth{runtime=\"api\",worker=\"0\"} 22008");
    assert_has_line(&text, "loopscope_workers{runtime=\"api\"} 10");
    assert_has_line(&text, "loopscope_blocking_pool_queue_depth{runtime=\"api\"} 1262");
    assert_has_line(
        &text,
        "loopscope_blocking_site_events_total{site=\"src/flood.rs:31\",cause=\"sleep\"} 24",
    );
    each_series_occurs_once(&text);
}

fn each_series_occurs_once(text: &str) {
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series.to_owned()), "{series} occurs twice");
        assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
    }
}

#[test]
fn sites_beyond_the_worst_fifty_share_one_series() {
    let findings = (1..=60_u32).map(|n| {
        let mut finding = sample::sleep();
        finding.site.as_mut().unwrap().file = Some("src/a.rs".to_owned());
        finding.site.as_mut().unwrap().line = Some(n);
        finding.count = 1;
        finding.total = Duration::from_secs(n.into());
        finding
    });
    let text = text(&snapshot(), findings.collect());
    let seconds = text.lines().filter(|line| line.starts_with("loopscope_blocking_site_seconds_total{"));
    assert_eq!(seconds.count(), MAX_SITES + 1);
    assert_has_line(&text, "loopscope_blocking_site_seconds_total{site=\"src/a.rs:60\",cause=\"sleep\"} 60");
    assert_has_line(&text, "loopscope_blocking_site_seconds_total{site=\"other\",cause=\"sleep\"} 55");
    assert_has_line(&text, "loopscope_blocking_site_events_total{site=\"other\",cause=\"sleep\"} 10");
}

#[test]
fn a_finding_without_a_site_is_counted_as_unknown() {
    let mut finding = sample::sleep();
    finding.site = None;
    let text = text(&snapshot(), vec![finding]);
    assert_has_line(&text, "loopscope_blocking_site_events_total{site=\"unknown\",cause=\"sleep\"} 12");
}

/// Each sample may be of another line of a loop, but a counter must stay in one
/// series.
#[test]
fn a_computation_is_counted_by_its_function() {
    let mut finding = sample::sleep();
    finding.cause = Cause::Cpu;
    let text = text(&snapshot(), vec![finding]);
    assert_has_line(
        &text,
        "loopscope_blocking_site_events_total{site=\"chat::flood::throttle\",cause=\"cpu\"} 12",
    );
}

#[test]
fn every_kind_name_becomes_a_valid_label() {
    let mut snapshot = snapshot();
    snapshot.kinds[0].name = "a \"b\"\\\nc</script> \u{e9}".to_owned();
    let text = text(&snapshot, vec![]);
    assert_has_line(
        &text,
        "loopscope_tasks_spawned_total{task=\"a \\\"b\\\"\\\\\\nc</script> \u{e9}\"} 1009",
    );
}

/// Prometheus rejects a scrape with a label value over its limit, and counts
/// the samples of each scrape.
#[test]
fn names_of_any_length_become_distinct_labels_of_bounded_length() {
    let mut snapshot = snapshot();
    let long = |n: usize| format!("{}{n}{}", "\u{e9}".repeat(300), "x".repeat(300));
    for n in 0..3 {
        let name: &'static str = long(n).leak();
        snapshot.kinds.push(KindSnapshot { name: long(n), ..snapshot.kinds[0].clone() });
        snapshot.workers.push(WorkerSnapshot {
            label: long(n),
            runtime: long(n),
            ..snapshot.workers[0].clone()
        });
        snapshot.runtimes.push(RuntimeSnapshot { name: long(n), ..snapshot.runtimes[0].clone() });
        snapshot.blocking_calls.push(BlockingCallSnapshot { name, ..snapshot.blocking_calls[0].clone() });
        snapshot.loop_lag.push(LoopLagSnapshot { name, ..snapshot.loop_lag[0].clone() });
    }
    let findings = [Cause::Sleep, Cause::Cpu].into_iter().flat_map(|cause| {
        (0..3).map(move |n| {
            let mut finding = sample::sleep();
            finding.cause = cause;
            let site = finding.site.as_mut().unwrap();
            (site.file, site.function) = (Some(long(n)), long(n));
            finding
        })
    });
    for family in families(&snapshot, &findings.collect::<Vec<_>>()) {
        let labels: BTreeSet<_> = family.series.iter().map(|series| &series.labels).collect();
        assert_eq!(labels.len(), family.series.len(), "{}", family.metric.name);
        let longest = labels.into_iter().flatten().map(String::len).max();
        assert!(longest <= Some(label::MAX_LABEL_VALUE_BYTES), "{}", family.metric.name);
    }
    let text = text(&snapshot, vec![]);
    assert_eq!(text.matches("\nloopscope_tasks_spawned_total{").count(), 4);
    assert_eq!(text.matches("\nloopscope_worker_busy_seconds_total{").count(), 5);
    assert_eq!(text.matches("\nloopscope_loop_lag_seconds_count{").count(), 4);
}

#[test]
fn series_beyond_the_limits_share_other_and_no_value_is_lost() {
    let mut snapshot = snapshot();
    let kinds =
        (0..300).map(|n| KindSnapshot { name: format!("k{n:04}"), spawned: 2, ..KindSnapshot::default() });
    snapshot.kinds = kinds.collect();
    let workers = (0..1_100).map(|n| WorkerSnapshot {
        label: format!("w{n:04}"),
        runtime: "tokio".to_owned(),
        polls: 3,
        ..WorkerSnapshot::default()
    });
    snapshot.workers = workers.collect();
    let runtimes = (0..300).map(|n| RuntimeSnapshot {
        name: format!("r{n:04}"),
        workers: 2,
        ..RuntimeSnapshot::default()
    });
    snapshot.runtimes = runtimes.collect();
    let canaries = (0..100_u64).map(|n| LoopLagSnapshot {
        name: format!("l{n:04}").leak(),
        lag: distribution(3, 5),
        unanswered: Some(Duration::from_secs(n)),
    });
    snapshot.loop_lag = canaries.collect();
    let text = text(&snapshot, vec![]);
    assert_has_line(&text, "loopscope_tasks_spawned_total{task=\"k0256\"} 2");
    assert_has_line(&text, "loopscope_tasks_spawned_total{task=\"other\"} 86");
    assert_has_line(&text, "loopscope_worker_polls_total{runtime=\"tokio\",worker=\"w1023\"} 3");
    assert_has_line(&text, "loopscope_worker_polls_total{runtime=\"\",worker=\"other\"} 228");
    assert_has_line(&text, "loopscope_workers{runtime=\"other\"} 88");
    assert_has_line(&text, "loopscope_loop_lag_seconds_count{loop=\"other\"} 144");
    assert_has_line(&text, "loopscope_loop_lag_unanswered_seconds{loop=\"other\"} 99");
    each_series_occurs_once(&text);
    assert!(text.lines().count() < 30_000, "{}", text.lines().count());
}

#[test]
fn a_collection_resets_nothing() {
    let collector = Collector::new(FakeSource::new());
    let described: Vec<_> = collector.desc().into_iter().map(|desc| desc.fq_name.clone()).collect();
    assert!(c::ALL.iter().all(|metric| described.iter().any(|name| name == metric.name)), "{described:?}");
    assert_eq!(collector.collect(), collector.collect());
}

#[test]
fn an_application_registry_accepts_the_collector() {
    let registry = Registry::new();
    registry.register(Box::new(Collector::new(FakeSource::new()))).unwrap();
    assert_eq!(registry.gather().len(), c::ALL.len());
}

/// dashboards/check.sh passes this file to `promtool check metrics`.
#[test]
fn the_example_exposition_is_current() {
    let mut snapshot = snapshot();
    snapshot.kinds[0].poll_time = distribution(1, 30);
    let text = text(&snapshot, vec![sample::sleep()]);
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    if std::env::var_os("LOOPSCOPE_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/prometheus/exposition.txt"), &text)
            .unwrap();
    }
    let shown = include_str!("../../../../dashboards/prometheus/exposition.txt");
    assert!(
        text == shown,
        "exposition.txt is outdated: run the tests once with LOOPSCOPE_BLESS=1, then read the difference"
    );
}
