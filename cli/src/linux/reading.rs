//! What precedes each reading of a process.

use loopscope::attach;

use crate::linux::args::ReadingArgs;

/// The process that is read comes first. The value is between the usual
/// priority and the lowest; the kernel derives the priority of reads from disk
/// from it.
const NICE: i32 = 10;

/// Lowers the priority of the calling thread and of those that it starts, and
/// takes the debug information that the user named.
pub(crate) fn prepare(pid: i32, args: &ReadingArgs) -> anyhow::Result<()> {
    if !args.no_nice {
        // It is no error if that fails.
        let _ = rustix::process::setpriority_process(None, NICE);
    }
    if let Some(path) = &args.debug_info {
        attach::add_debug_info(pid, path)?;
    }
    Ok(())
}
