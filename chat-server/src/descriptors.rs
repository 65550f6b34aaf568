//! Raises the file-descriptor limit: each connection needs one descriptor and
//! the usual soft limit is 1,024.

/// Descriptors that the process needs in addition to those of clients.
#[cfg(unix)]
const OTHER_DESCRIPTORS: i32 = 128;

/// Prepares the process for up to `max_connections` connections. Call it while
/// the process has one thread.
///
/// It raises the limit to the system's maximum. If that is too low, the server
/// accepts fewer connections: the accept loop handles the error. It also grows
/// the kernel's table of descriptors by using a high number once. If the table
/// grew later, in a process with threads, `accept` would wait for all cores, 10
/// ms and more each time the table doubles.
#[cfg(unix)]
pub(crate) fn prepare_descriptors(max_connections: u32) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!("cannot raise the limit of {current:?} descriptors: {error}");
    }
    let allowed =
        getrlimit(Resource::Nofile).current.and_then(|limit| i32::try_from(limit).ok()).unwrap_or(i32::MAX);
    let highest =
        i32::try_from(max_connections).unwrap_or(i32::MAX).saturating_add(OTHER_DESCRIPTORS).min(allowed - 1);
    if let Err(error) = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), highest) {
        tracing::debug!("cannot grow the descriptor table in advance: {error}");
    }
}

#[cfg(not(unix))]
pub(crate) fn prepare_descriptors(_: u32) {}
