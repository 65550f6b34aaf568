//! Debug information that the user names.

use std::path::Path;

use crate::attach::access;
use crate::attach::error::AttachError;
use crate::diagnose::image::given_files;
use crate::process::Process;

/// Adds a file with the debug information of the program that the process `pid`
/// runs, for a program that was stripped. All later readings use it. `path` may
/// also be a folder that is laid out as `/usr/lib/debug/`: the file is then
/// found by the build id of the program. Files that
/// the system knows are found without this: by `.gnu_debuglink`, below
/// `/usr/lib/debug/.build-id`, and beside the program.
///
/// # Errors
///
/// If the process cannot be read, or the file cannot be used: it must have the
/// build id of the program.
pub fn add_debug_info(pid: i32, path: &Path) -> Result<(), AttachError> {
    access::check(pid)?;
    given_files::add(Process::Other(pid), path)
        .map_err(|reason| AttachError::DebugInfo { path: path.to_string_lossy().into_owned(), reason })
}
