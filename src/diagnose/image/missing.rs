//! Why code has no lines, in words.

use std::path::Path;

/// The setting that limits the memory for compressed debug information.
#[cfg(feature = "compressed-debug-info")]
const MEMORY_SETTING: &str = "ScopeBuilder::max_debug_info_memory";

/// Why the code of a file has no lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MissingLines {
    /// The file cannot be opened or read at this time.
    Unreadable,
    /// The file is not the one that was loaded.
    Replaced,
    /// The file has no debug information.
    NoDebugInfo,
    /// The debug information is compressed and needs more memory than allowed.
    #[cfg(feature = "compressed-debug-info")]
    TooLarge,
    /// The debug information is compressed, and the feature that reads it is
    /// off.
    #[cfg(not(feature = "compressed-debug-info"))]
    Compressed,
    /// The debug information takes too long to read.
    TakesTooLong,
    /// The debug information is in one of these files, which were not found.
    InOtherFile(Vec<String>),
}

impl MissingLines {
    /// Returns whether the reason may go away.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreadable | Self::Replaced | Self::InOtherFile(_))
    }

    /// Returns why a file does not tell how futures are laid out, as a
    /// sentence. That takes more debug information than lines.
    #[cfg(feature = "attach")]
    pub(crate) fn describe_types(&self, path: &str) -> String {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        match self {
            Self::NoDebugInfo => format!(
                "`{name}` has no debug information; `debug = \"full\"` in the profile of Cargo.toml gives chains"
            ),
            other => other.describe(path),
        }
    }

    /// Returns the reason as a sentence about a file.
    pub(crate) fn describe(&self, path: &str) -> String {
        let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        match self {
            Self::Unreadable => format!("`{path}` cannot be read, so its code has no lines"),
            Self::Replaced => {
                format!("`{path}` is no longer the file that was loaded, so its code has no lines")
            }
            Self::NoDebugInfo => format!(
                "`{name}` has no debug information; `debug = \"line-tables-only\"` in the profile of \
                 Cargo.toml gives lines"
            ),
            #[cfg(feature = "compressed-debug-info")]
            Self::TooLarge => format!(
                "the compressed debug information of `{name}` exceeds the limit, so its code has no lines; \
                 `{MEMORY_SETTING}` sets the limit"
            ),
            #[cfg(not(feature = "compressed-debug-info"))]
            Self::Compressed => format!(
                "the debug information of `{name}` is compressed; the feature `compressed-debug-info` of \
                 loopscope reads it"
            ),
            Self::TakesTooLong => {
                format!("the debug information of `{name}` takes too long to read, so its code has no lines")
            }
            Self::InOtherFile(files) => {
                format!("the lines of `{name}` are in `{}`, which was not found", files.join("` or `"))
            }
        }
    }
}
