//! The chat server inside this program.

use std::ffi::OsString;

/// Runs the embedded chat server until it ends by itself.
pub(crate) fn serve(_arguments: Vec<OsString>) -> anyhow::Result<()> {
    anyhow::bail!("this build has no embedded chat server")
}
