//! Descriptors: one per connection, and many systems start programs with 1,024.

/// Raises the number of descriptors to what the system lets us have. If it does not, the server takes
/// fewer connections: the accept loop copes.
#[cfg(unix)]
pub(crate) fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!("descriptors stay limited to {current:?}: {error}");
    }
}

#[cfg(not(unix))]
pub(crate) fn raise_descriptors() {}
