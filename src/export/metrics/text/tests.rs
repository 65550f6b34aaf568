//! The same text as the crate's encoder, and what OpenMetrics demands.

use prometheus::{IntCounter, Registry};

use super::*;
use crate::export::fake::snapshot;
use crate::export::metrics::families::families;
use crate::export::metrics::prometheus::to_proto;
use crate::finding::Stall;
use crate::report::sample;
use crate::snapshot::Snapshot;

fn written(snapshot: &Snapshot, format: Format, exemplars: &Exemplars) -> String {
    let mut text = String::new();
    write(&mut text, &families(snapshot, &sample::document(vec![sample::sleep()])), format, exemplars);
    text
}

#[test]
fn the_text_is_that_of_the_crates_own_encoder() {
    let mut snapshot = snapshot();
    snapshot.kinds[0].name = "a \"b\"\\\nc</script> \u{e9}".to_owned();
    let families = to_proto(families(&snapshot, &sample::document(vec![sample::sleep()])));
    let expected = TextEncoder::new().encode_to_string(&families).unwrap();
    assert_eq!(written(&snapshot, Format::Text, &Exemplars::default()), expected);
}

#[test]
fn openmetrics_names_counters_without_their_suffix_and_has_exemplars() {
    let stall = Stall {
        start: crate::unix_time::from_nanos(1_700_000_000_000_000_000),
        end: Some(crate::unix_time::from_nanos(1_700_000_000_212_000_000)),
        worker: "0".to_owned(),
        task: "session".to_owned(),
        finding: Some(sample::sleep().id),
    };
    let exemplars = Exemplars::new(&[stall], &[sample::sleep()]);
    let text = written(&snapshot(), Format::OpenMetrics, &exemplars);
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
    assert_eq!(text.matches("finding=").count(), 1, "in the bucket that it belongs to, and in no other");
    assert!(!written(&snapshot(), Format::Text, &exemplars).contains("finding="), "0.0.4 has none");
}

#[test]
fn foreign_counters_get_the_suffix_that_openmetrics_demands() {
    let registry = Registry::new();
    for name in ["plain", "with_total"] {
        let counter = IntCounter::new(name, "What it counts.").unwrap();
        counter.inc_by(7);
        registry.register(Box::new(counter)).unwrap();
    }
    let in_format = |format| {
        let mut text = String::new();
        registry.gather().iter().for_each(|family| write_foreign(&mut text, family, format));
        text
    };
    assert_eq!(
        in_format(Format::OpenMetrics),
        "# HELP plain What it counts.\n# TYPE plain counter\nplain_total 7\n\
         # HELP with What it counts.\n# TYPE with counter\nwith_total 7\n"
    );
    assert!(in_format(Format::Text).contains("\nplain 7\n"));
}

#[test]
fn openmetrics_is_for_those_who_ask_for_it() {
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                      text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
    for other in
        ["", "*/*", "text/plain;version=0.0.4", "application/openmetrics-text; q=0", "text/html,*/*;q=0.8"]
    {
        assert_eq!(Format::accepted(other), Format::Text, "{other}");
    }
}
