//! What a descriptor refers to.

use std::path::Path;

use crate::futures::type_name;
use crate::process::Process;

/// Returns what a descriptor of a process refers to, such as
/// `tcp to 127.0.0.1:80`.
pub(super) fn object(process: Process, fd: i32) -> Option<String> {
    let link = std::fs::read_link(Path::new(&process.proc_path(&format!("fd/{fd}")))).ok()?;
    Some(type_name::printable(&link.to_string_lossy()))
}
