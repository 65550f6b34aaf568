//! The directory of the channel history.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A directory that the user names, or a temporary one.
#[derive(Debug)]
pub(crate) enum DataDir {
    /// Named by the user. The server does not remove it.
    Given(PathBuf),
    /// Inside the system's temporary directory. It is removed on drop.
    Temporary(tempfile::TempDir),
}

impl DataDir {
    pub(crate) fn open(given: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = given else {
            let temporary = tempfile::Builder::new().prefix("chat-server-").tempdir();
            return Ok(Self::Temporary(
                temporary
                    .context("a temporary directory cannot be created, name a directory with --data-dir")?,
            ));
        };
        std::fs::create_dir_all(path)
            .and_then(|()| tempfile::tempfile_in(path).map(drop))
            .with_context(|| format!("--data-dir: `{}` must be a writable directory", path.display()))?;
        Ok(Self::Given(path.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}
