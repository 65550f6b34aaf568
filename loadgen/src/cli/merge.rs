//! Flags of `loadgen merge`.

use std::path::PathBuf;

use clap::Args;

use crate::plan::Objective;

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The shards: reports as --json writes them, or logs as --hlog writes
    /// them; not both, because both contain the same deliveries. A file whose
    /// name ends in .hlog is a log, any other file is a report.
    #[arg(value_name = "SHARD", required = true)]
    pub(crate) shards: Vec<PathBuf>,
    /// An objective for all shards together; can be given several times.
    #[arg(long, value_name = "p99<50ms")]
    pub(crate) slo: Vec<Objective>,
    /// Write the merged report as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the sum of the shards' logs as one log.
    #[arg(long, value_name = "FILE")]
    pub(crate) hlog: Option<PathBuf>,
}
