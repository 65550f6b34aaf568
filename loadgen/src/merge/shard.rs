//! One shard's report, read back whole.

use std::path::Path;

use anyhow::{Context as _, bail};
use loopscope::{FindingsDocument, StallsDocument};
use serde::Deserialize;

use crate::report::{Clock, Coverage, Generator, Load, SCHEMA, Settings, Tail};

/// A report, as much of it as another one is made of.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Shard {
    schema: String,
    /// The file it is from.
    #[serde(skip)]
    pub(super) name: String,
    pub(super) target: String,
    pub(super) started_unix_seconds: f64,
    pub(super) interrupted: bool,
    pub(super) settings: Settings,
    pub(super) load: Load,
    pub(super) generator: Generator,
    pub(super) watched_seconds: Option<f64>,
    pub(super) findings: Option<FindingsDocument>,
    pub(super) stalls: Option<StallsDocument>,
    pub(super) coverage: Option<Coverage>,
    pub(super) tail: Option<Tail>,
    pub(super) clock: Option<Clock>,
    pub(super) verdict: Verdict,
}

/// What the shard alone meant.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Verdict {
    pub(super) outcome: String,
    pub(super) reasons: Vec<String>,
}

impl Shard {
    /// From a file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
        let mut shard: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{name} is no report as `loadgen run --json FILE` writes it"))?;
        if shard.schema != SCHEMA {
            bail!("{name} is `{}`, not `{SCHEMA}`", shard.schema);
        }
        shard.name = name;
        Ok(shard)
    }

    /// That it is of the same test as `first`.
    pub(super) fn must_fit(&self, first: &Self) -> anyhow::Result<()> {
        let (own, other) = (&self.settings, &first.settings);
        let differs = |what: &str, a: String, b: String| {
            if a == b {
                Ok(())
            } else {
                bail!("{} and {} are not of one test: {what} {b} and {a}", first.name, self.name)
            }
        };
        differs("target", self.target.clone(), first.target.clone())?;
        differs("duration", own.duration_seconds.to_string(), other.duration_seconds.to_string())?;
        differs("stages", self.load.stages.len().to_string(), first.load.stages.len().to_string())?;
        differs("arrivals", own.arrivals.clone(), other.arrivals.clone())
    }
}

/// What all shards together were asked for.
pub(super) fn settings(shards: &[Shard]) -> Settings {
    let mut sum = shards[0].settings.clone();
    for Shard { settings, .. } in &shards[1..] {
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
