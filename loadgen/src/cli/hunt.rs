//! Flags of `loadgen hunt`.

use std::ffi::OsString;

use clap::Args;

use super::output::OutputArgs;
use super::server::ServerArgs;
use crate::plan::LoadArgs;

#[derive(Debug, Clone, Args)]
#[group(id = "driven", args = ["target", "command"], multiple = true)]
pub(crate) struct HuntArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Afterwards, search for the smallest load at which each finding appears,
    /// in further trials of --duration each.
    #[arg(long, conflicts_with_all = ["command", "stages"])]
    pub(crate) minimise: bool,
    /// Fail with exit code 1 if there is any finding.
    #[arg(long)]
    pub(crate) deny: bool,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// A command that generates the load instead of the generator's own
    /// clients; it gets LOADGEN_TARGET and LOADGEN_TELEMETRY in its
    /// environment.
    #[arg(last = true)]
    pub(crate) command: Vec<OsString>,
}
