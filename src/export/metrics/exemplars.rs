//! Exemplars of `loopscope_blocking_duration_seconds`: the latest stall in each
//! bucket, so that a point on a graph leads to its finding.

use std::collections::HashMap;

use crate::export::metrics::catalogue::BUCKETS;
use crate::finding::{Finding, Stall};
use crate::unix_time;

/// One stall, as OpenMetrics shows it after a bucket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exemplar {
    /// The id of the finding, as in `/findings/ID`.
    pub(crate) finding: String,
    /// The duration of the stall.
    pub(crate) seconds: f64,
    /// The Unix time at which the stall ended.
    pub(crate) end_unix_seconds: f64,
}

/// Exemplars by cause and index of the bucket. The last bucket, above all
/// bounds, has the index `BUCKETS.len()`.
#[derive(Debug, Default)]
pub(crate) struct Exemplars(HashMap<(&'static str, usize), Exemplar>);

impl Exemplars {
    /// Selects the exemplars from `stalls`, which must be sorted from oldest to
    /// newest.
    pub(crate) fn new(stalls: &[Stall], findings: &[Finding]) -> Self {
        let causes: HashMap<_, _> = findings.iter().map(|finding| (&*finding.id, finding.cause)).collect();
        let mut latest = HashMap::new();
        for stall in stalls {
            let (Some(end), Some(finding)) = (stall.end, &stall.finding) else { continue };
            let Some(cause) = causes.get(&**finding) else { continue };
            let duration = end.duration_since(stall.start).unwrap_or_default();
            let bucket = BUCKETS.partition_point(|bound| *bound < duration);
            let exemplar = Exemplar {
                finding: finding.clone(),
                seconds: duration.as_secs_f64(),
                end_unix_seconds: unix_time::since_epoch(end).as_secs_f64(),
            };
            latest.insert((cause.as_str(), bucket), exemplar);
        }
        Self(latest)
    }

    pub(crate) fn get(&self, cause: &str, bucket: usize) -> Option<&Exemplar> {
        let is_wanted = |(key, _): &(&(&str, usize), _)| *key == &(cause, bucket);
        self.0.iter().find(is_wanted).map(|(_, exemplar)| exemplar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn each_bucket_has_its_latest_stall() {
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
            stall(4_000_000_000, 9_500_000, "of a finding that no longer exists"),
        ];
        let exemplars = Exemplars::new(&stalls, std::slice::from_ref(&finding));
        let up_to_ten_ms = exemplars.get("sleep", 9).unwrap();
        assert_eq!((up_to_ten_ms.seconds, up_to_ten_ms.end_unix_seconds), (0.009, 2.009));
        assert_eq!(up_to_ten_ms.finding, finding.id);
        assert_eq!(exemplars.get("sleep", BUCKETS.len()).unwrap().seconds, 90.0);
        assert_eq!(exemplars.get("cpu", 9), None);
    }
}
