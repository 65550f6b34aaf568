//! File descriptors: each connection needs one, and the usual soft limit is
//! 1,024.

/// Descriptors that the process needs in addition to those of clients:
/// telemetry, files, and connections that it refuses. At most half of all.
#[cfg(unix)]
const OTHER_DESCRIPTORS: u32 = 128;

/// Prepares the process for up to `max_connections` connections. Returns how
/// many it can have. Call it while the process has one thread.
///
/// It raises the limit to the system's maximum. It also grows the kernel's
/// table of descriptors by using a high number once. If the table grew later,
/// in a process with threads, `accept` would wait for all cores, 10 ms and more
/// each time the table doubles.
#[cfg(unix)]
pub(crate) fn prepare_descriptors(max_connections: u32) -> u32 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Without the right to raise it, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let allowed = getrlimit(Resource::Nofile).current.and_then(|limit| u32::try_from(limit).ok());
    let Some(allowed) = allowed else { return max_connections };
    let other_descriptors = OTHER_DESCRIPTORS.min(allowed / 2);
    let max_connections = max_connections.min(allowed - other_descriptors).max(1);
    let highest = (max_connections + other_descriptors).min(allowed).saturating_sub(1);
    // Without the larger table, some connects take longer.
    let _ = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), i32::try_from(highest).unwrap_or(i32::MAX));
    max_connections
}

#[cfg(not(unix))]
pub(crate) fn prepare_descriptors(max_connections: u32) -> u32 {
    max_connections
}

/// A descriptor that is free for one connection when no other is left, so that
/// the server can accept it and tell the client.
#[derive(Debug)]
pub(crate) struct ReserveDescriptor {
    #[cfg(unix)]
    descriptor: Option<std::os::fd::OwnedFd>,
}

impl ReserveDescriptor {
    #[cfg(unix)]
    pub(crate) fn new() -> Self {
        Self { descriptor: rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 0).ok() }
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> Self {
        Self {}
    }

    /// Frees the descriptor if `error` means that none is left. Returns whether
    /// it did.
    #[cfg(unix)]
    pub(crate) fn free_after(&mut self, error: &std::io::Error) -> bool {
        use rustix::io::Errno;
        let is_exhausted = matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
        is_exhausted && self.descriptor.take().is_some()
    }

    #[cfg(not(unix))]
    pub(crate) fn free_after(&mut self, _: &std::io::Error) -> bool {
        false
    }
}
