//! The priority of loopscope itself: the process that is read comes first.

/// Between the usual priority and the lowest. The kernel derives the priority
/// of reads from disk from it.
const NICE: i32 = 10;

/// Lowers the priority of the calling thread and of those that it starts. It is
/// no error if that fails: loopscope then runs with the usual priority.
pub(crate) fn lower() {
    let _ = rustix::process::setpriority_process(None, NICE);
}
