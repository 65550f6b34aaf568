//! Flags that select the server: the embedded one, or one that already runs.

use std::time::Duration;

use clap::Args;

use crate::plan::{parse_duration, parse_target};

#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The server to test; without it, an embedded chat server is started.
    #[arg(long, value_name = "HOST:PORT|URL", value_parser = parse_target)]
    pub(crate) target: Option<String>,
    /// The URL of the server's telemetry.
    #[arg(long, value_name = "URL", requires = "driven")]
    pub(crate) telemetry: Option<String>,
    /// A mistake that the embedded server makes, or `all`; can be
    /// given several times.
    #[arg(long, value_name = "SITE[=DURATION][@PERCENT%]", conflicts_with_all = ["telemetry", "target"])]
    pub(crate) inject: Vec<String>,
    /// The stall threshold of the embedded server: a longer poll is a stall.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with_all = ["telemetry", "target"])]
    pub(crate) threshold: Option<Duration>,
    /// The worker threads of the embedded server.
    #[arg(long, value_name = "N", conflicts_with_all = ["telemetry", "target"])]
    pub(crate) workers: Option<u16>,
}
