//! Flags that select the server: the embedded one, or one that already runs.

use std::time::Duration;

use clap::Args;

use crate::plan::{parse_duration, parse_target};

#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The server to test, with TLS as ircs://HOST:PORT or https://HOST/PATH;
    /// without it, an embedded chat server is started.
    #[arg(long, value_name = "HOST:PORT|URL", value_parser = parse_target)]
    pub(crate) target: Option<String>,
    /// The URL of the server's telemetry.
    #[arg(long, value_name = "URL", requires = "driven")]
    pub(crate) telemetry: Option<String>,
    /// The id of the server's process, which was built without loopscope: it is
    /// watched from outside, and its figures are sampled.
    #[arg(long, value_name = "PID", requires = "driven", conflicts_with_all = ["telemetry", "run"])]
    pub(crate) pid: Option<i32>,
    /// A command that starts the server, which was built without loopscope, at
    /// the address --target: it is watched from outside, and ended afterwards.
    /// The shell replaces itself by it, so it is one program with arguments; a
    /// variable is set with `env NAME=VALUE program`.
    #[arg(long, value_name = "COMMAND", requires = "target", conflicts_with = "telemetry")]
    pub(crate) run: Option<String>,
    /// A mistake that the embedded server makes: sleep, history, password,
    /// filter, resolve, lock, channel, child, upstream, certificate,
    /// chathistory or all; repeatable. For certificate, visitors connect with
    /// TLS.
    #[arg(long, value_name = "SITE[=DURATION][@PERCENT%]", conflicts_with_all = ["telemetry", "target", "pid", "run"])]
    pub(crate) inject: Vec<String>,
    /// The stall threshold of the embedded server: a longer poll is a stall
    /// [default: 10ms].
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with_all = ["telemetry", "target", "pid", "run"])]
    pub(crate) threshold: Option<Duration>,
    /// The worker threads of the embedded server [default: one per core].
    #[arg(long, value_name = "N", conflicts_with_all = ["telemetry", "target", "pid", "run"])]
    pub(crate) workers: Option<u16>,
}
