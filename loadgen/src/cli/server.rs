//! Which server is meant: an embedded one, or one that runs already.

use std::time::Duration;

use clap::Args;

use crate::plan::{parse_duration, parse_target};

#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The server to drive; without it, an embedded chat server is started.
    #[arg(long, value_name = "HOST:PORT|URL", value_parser = parse_target)]
    pub(crate) target: Option<String>,
    /// The telemetry of the server that is driven.
    #[arg(long, value_name = "URL", requires = "driven")]
    pub(crate) telemetry: Option<String>,
    /// A mistake that the embedded server shall make, or `all`; repeatable.
    #[arg(long, value_name = "SITE[=DURATION][@PERCENT%]", conflicts_with_all = ["telemetry", "target"])]
    pub(crate) inject: Vec<String>,
    /// Polls longer than this are stalls, in the embedded server.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with_all = ["telemetry", "target"])]
    pub(crate) threshold: Option<Duration>,
    /// Worker threads of the embedded server.
    #[arg(long, value_name = "N", conflicts_with_all = ["telemetry", "target"])]
    pub(crate) workers: Option<u16>,
}
