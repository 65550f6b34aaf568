//! The report of one shard.

use std::path::Path;

use anyhow::bail;

use crate::report::{self, Report, Settings};

/// A shard's report.
#[derive(Debug)]
pub(super) struct Shard {
    /// The file that it is read from.
    pub(super) name: String,
    pub(super) report: Report,
}

impl Shard {
    /// Reads it from a file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { name: path.display().to_string(), report: report::read_whole(path)? })
    }

    /// Checks that the shard is of the same test as `first`.
    pub(super) fn check_same_test(&self, first: &Self) -> anyhow::Result<()> {
        let (a, b) = (&self.report, &first.report);
        let (a_settings, b_settings) = (&a.settings, &b.settings);
        let check_equal = |what: &str, a: String, b: String| {
            if a == b {
                Ok(())
            } else {
                bail!("{} and {} are not of the same test: {what} {b} and {a}", first.name, self.name)
            }
        };
        check_equal("target", a.target.clone(), b.target.clone())?;
        check_equal(
            "duration",
            a_settings.duration_seconds.to_string(),
            b_settings.duration_seconds.to_string(),
        )?;
        check_equal("stages", a.load.stages.len().to_string(), b.load.stages.len().to_string())?;
        check_equal("arrivals", a_settings.arrivals.clone(), b_settings.arrivals.clone())
    }
}

/// Adds up the settings of all shards.
pub(super) fn merge_settings(shards: &[Shard]) -> Settings {
    let mut sum = shards[0].report.settings.clone();
    for Shard { report, .. } in &shards[1..] {
        let settings = &report.settings;
        sum.connections += settings.connections;
        sum.rooms += settings.rooms;
        sum.rate += settings.rate;
        sum.churn += settings.churn;
        sum.threads += settings.threads;
        sum.payload_bytes = sum.payload_bytes.max(settings.payload_bytes);
        sum.max_send_lag_seconds = sum.max_send_lag_seconds.max(settings.max_send_lag_seconds);
        for (action, weight) in &settings.mix {
            *sum.mix.entry(action.clone()).or_default() += weight;
        }
    }
    sum
}
