//! The latest stall in each bucket of `loopscope_blocking_duration_seconds`, so
//! that a point on a graph leads to its finding.

use std::collections::HashMap;

use crate::export::metrics::catalogue::BUCKETS;
use crate::finding::{Finding, Stall};
use crate::unix_time;

/// One stall, as OpenMetrics shows it beside a bucket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exemplar {
    /// The id of the finding: `/findings/ID`.
    pub(crate) finding: String,
    /// How long the stall took, in seconds.
    pub(crate) value: f64,
    /// When it ended, in seconds of the Unix epoch.
    pub(crate) unix_seconds: f64,
}

/// By the cause, and the index of the bucket: the one above all bounds is the
/// last.
#[derive(Debug, Default)]
pub(crate) struct Exemplars(HashMap<(&'static str, usize), Exemplar>);

impl Exemplars {
    /// Of `stalls`, the oldest first.
    pub(crate) fn new(stalls: &[Stall], findings: &[Finding]) -> Self {
        let causes: HashMap<_, _> = findings.iter().map(|finding| (&*finding.id, finding.cause)).collect();
        let mut latest = HashMap::new();
        for stall in stalls {
            let (Some(end), Some(finding)) = (stall.end, &stall.finding) else { continue };
            let Some(cause) = causes.get(&**finding) else { continue };
            let length = end.duration_since(stall.start).unwrap_or_default();
            let bucket = BUCKETS.partition_point(|bound| *bound < length);
            let exemplar = Exemplar {
                finding: finding.clone(),
                value: length.as_secs_f64(),
                unix_seconds: unix_time::since_epoch(end).as_secs_f64(),
            };
            latest.insert((cause.as_str(), bucket), exemplar);
        }
        Self(latest)
    }

    pub(crate) fn get(&self, cause: &str, bucket: usize) -> Option<&Exemplar> {
        self.0.iter().find(|((of, at), _)| *of == cause && *at == bucket).map(|(_, exemplar)| exemplar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_latest_of_each_bucket() {
        let finding = sample::sleep();
        let stall = |start, nanos: u64, id: &str| Stall {
            start: unix_time::from_nanos(start),
            end: Some(unix_time::from_nanos(start + nanos)),
            worker: "0".to_owned(),
            task: "t".to_owned(),
            finding: Some(id.to_owned()),
        };
        let stalls = [
            stall(1_000_000_000, 10_000_000, &finding.id),
            stall(2_000_000_000, 9_000_000, &finding.id),
            stall(3_000_000_000, 90_000_000_000, &finding.id),
            stall(4_000_000_000, 9_500_000, "of a finding that is gone"),
        ];
        let exemplars = Exemplars::new(&stalls, std::slice::from_ref(&finding));
        let in_ten_ms = exemplars.get("sleep", 9).unwrap();
        assert_eq!((in_ten_ms.value, in_ten_ms.unix_seconds), (0.009, 2.009));
        assert_eq!(in_ten_ms.finding, finding.id);
        assert_eq!(exemplars.get("sleep", BUCKETS.len()).unwrap().value, 90.0);
        assert_eq!(exemplars.get("cpu", 9), None);
    }
}
