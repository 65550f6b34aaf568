//! A report that was written before, as much of it as comparing and merging need.

use std::path::Path;

use anyhow::{Context as _, bail};
use loopscope::FindingsDocument;
use serde::Deserialize;

use crate::report::{Histograms, SCHEMA};

/// A report read back. Fields that are not named here are of no matter.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Saved {
    schema: String,
    pub(crate) target: String,
    pub(crate) settings: Settings,
    pub(crate) load: Load,
    pub(crate) watched_seconds: Option<f64>,
    pub(crate) findings: Option<FindingsDocument>,
    pub(crate) verdict: Verdict,
}

/// What must agree for two runs to be like for like.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Settings {
    pub(crate) connections: u64,
    pub(crate) rooms: u64,
    pub(crate) rate: f64,
    pub(crate) arrivals: String,
    pub(crate) duration_seconds: f64,
    pub(crate) churn: f64,
    pub(crate) payload_bytes: u64,
    pub(crate) mix: std::collections::BTreeMap<String, u32>,
}

/// The load figures that are compared.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Load {
    pub(crate) deliveries: Deliveries,
    pub(crate) histograms: Histograms,
}

/// What became of the messages.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Deliveries {
    pub(crate) expected: u64,
    pub(crate) lost: u64,
}

/// What the run meant.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) outcome: String,
    pub(crate) reasons: Vec<String>,
}

impl Saved {
    /// From a file.
    ///
    /// # Errors
    ///
    /// If there is none, or it is no report of this version.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let text = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
        Self::parse(&text, &name)
    }

    /// From what `name` contains.
    ///
    /// # Errors
    ///
    /// If it is no report of this version.
    pub(crate) fn parse(text: &[u8], name: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Schema {
            schema: String,
        }
        let schema: Schema = serde_json::from_slice(text)
            .with_context(|| format!("{name} is no report; one is written by `loadgen run --json FILE`"))?;
        if schema.schema != SCHEMA {
            bail!("{name} is `{}`, not `{SCHEMA}`", schema.schema);
        }
        let saved: Self = serde_json::from_slice(text)
            .with_context(|| format!("{name} is no whole report, or one of another version"))?;
        debug_assert_eq!(saved.schema, SCHEMA);
        Ok(saved)
    }
}
