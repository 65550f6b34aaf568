//! Flags that say where the results go.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Write the report as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the latencies of each second as an HdrHistogram log (V2). Let the
    /// name end in .hlog: `loadgen merge` takes any other file for a report.
    #[arg(long, value_name = "FILE")]
    pub(crate) hlog: Option<PathBuf>,
    /// Write the report as one self-contained HTML page with plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Serve Prometheus metrics of the run and of the generator's own event
    /// loop at /metrics during the run.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Show the log of the embedded server (`run` has none).
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

impl OutputArgs {
    /// Returns whether the JSON report goes to standard output.
    pub(crate) fn json_on_stdout(&self) -> bool {
        self.json.as_deref().is_some_and(|path| path == "-")
    }
}
