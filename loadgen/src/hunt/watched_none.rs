//! Systems on which no process can be watched from outside.

use anyhow::bail;

/// No server is ever watched.
#[derive(Debug)]
pub(crate) enum WatchedServer {}

impl WatchedServer {
    pub(crate) fn attach(_: i32) -> anyhow::Result<Self> {
        bail!("--pid needs Linux on x86_64 or aarch64")
    }

    pub(crate) async fn start(_: &str, _: &str) -> anyhow::Result<Self> {
        bail!("--run needs Linux on x86_64 or aarch64")
    }

    pub(crate) fn telemetry(&self) -> anyhow::Result<String> {
        match *self {}
    }

    pub(crate) async fn stop(self) -> Result<(), String> {
        match self {}
    }
}
