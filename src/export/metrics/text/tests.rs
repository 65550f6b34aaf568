//! Compares the text with the encoder of the `prometheus` crate, and checks the
//! rules of OpenMetrics.

use prometheus::TextEncoder;

use super::*;
use crate::export::fake::snapshot;
use crate::export::metrics::families::families;
use crate::export::metrics::prometheus::to_proto;
use crate::finding::Stall;
use crate::report::sample;
use crate::snapshot::Snapshot;

fn written(snapshot: &Snapshot, format: TextFormat, exemplars: &Exemplars) -> String {
    let mut text = String::new();
    write(&mut text, &families(snapshot, &[sample::sleep()]), format, exemplars, &BTreeSet::new());
    text
}

#[test]
fn the_text_equals_that_of_the_prometheus_crate() {
    let mut snapshot = snapshot();
    snapshot.kinds[0].name = "a \"b\"\\\nc</script> \u{e9}".to_owned();
    let families = to_proto(families(&snapshot, &[sample::sleep()]));
    let expected = TextEncoder::new().encode_to_string(&families).unwrap();
    assert_eq!(written(&snapshot, TextFormat::Prometheus, &Exemplars::default()), expected);
}

#[test]
fn openmetrics_declares_counters_without_suffix_and_has_exemplars() {
    let stall = Stall {
        start: crate::unix_time::from_nanos(1_700_000_000_000_000_000),
        end: Some(crate::unix_time::from_nanos(1_700_000_000_212_000_000)),
        worker: "0".to_owned(),
        task: "session".to_owned(),
        finding: Some(sample::sleep().id),
    };
    let exemplars = Exemplars::new(&[stall], &[sample::sleep()]);
    let text = written(&snapshot(), TextFormat::OpenMetrics, &exemplars);
    assert!(text.contains(
        "\n# TYPE loopscope_tasks_spawned counter\nloopscope_tasks_spawned_total{task=\"session\"} 1009\n"
    ));
    let bucket = text.lines().find(|line| line.contains("finding=")).unwrap();
    let (series, exemplar) = bucket.split_once(" # ").unwrap();
    assert!(
        series.starts_with("loopscope_blocking_duration_seconds_bucket{cause=\"sleep\",le=\"0.25\"} "),
        "{series}"
    );
    assert_eq!(exemplar, "{finding=\"sleep-5f3a\"} 0.212 1700000000.212");
    assert_eq!(text.matches("finding=").count(), 1, "only the bucket of the stall has an exemplar");
    assert!(
        !written(&snapshot(), TextFormat::Prometheus, &exemplars).contains("finding="),
        "the text format 0.0.4 has no exemplars"
    );
}

#[test]
fn a_counter_without_type_keeps_its_samples() {
    let mut text = String::new();
    let without_type = BTreeSet::from(["loopscope_tasks_spawned_total"]);
    let families = families(&snapshot(), &[]);
    write(&mut text, &families, TextFormat::OpenMetrics, &Exemplars::default(), &without_type);
    assert!(text.contains(
        "\n# TYPE loopscope_tasks_spawned_total unknown\nloopscope_tasks_spawned_total{task=\"session\"} 1009\n"
    ));
}
