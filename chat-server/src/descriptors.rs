//! Descriptors: one per connection, and many systems start programs with 1,024.

/// Descriptors beside those of clients.
#[cfg(unix)]
const OTHER_DESCRIPTORS: i32 = 128;

/// Makes room for the descriptors of so many connections. Call it while the process has one thread.
///
/// The limit is raised to what the system lets us have; if that is less, the server takes fewer connections,
/// and the accept loop copes. The kernel's table of descriptors is grown now, by using a high number once:
/// growing it in a process with threads makes `accept` wait for all cores, 10 ms and more each time it doubles.
#[cfg(unix)]
pub(crate) fn prepare_descriptors(connections: u32) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!("descriptors stay limited to {current:?}: {error}");
    }
    let allowed =
        getrlimit(Resource::Nofile).current.and_then(|most| i32::try_from(most).ok()).unwrap_or(i32::MAX);
    let highest =
        i32::try_from(connections).unwrap_or(i32::MAX).saturating_add(OTHER_DESCRIPTORS).min(allowed - 1);
    if let Err(error) = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), highest) {
        tracing::debug!("the table of descriptors grows as it is needed: {error}");
    }
}

#[cfg(not(unix))]
pub(crate) fn prepare_descriptors(_: u32) {}
