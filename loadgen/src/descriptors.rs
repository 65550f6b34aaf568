//! Raises the file-descriptor limit; each connection needs one descriptor.

/// Descriptors for everything else: files, telemetry, the runtime.
const RESERVED_DESCRIPTORS: u64 = 64;

/// Raises the limit so that `connections` and `visitors` can be open at the
/// same time.
///
/// # Errors
///
/// If the limit cannot be raised that far.
#[cfg(unix)]
pub(crate) fn raise_limit(connections: u32, visitors: u64) -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = u64::from(connections) + visitors + RESERVED_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    // `None` means unlimited.
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).is_ok() {
        return Ok(());
    }
    let allowed = limit.maximum.unwrap_or(needed);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum });
    if allowed < needed {
        anyhow::bail!(
            "--connections {connections} needs {needed} file descriptors and the limit is {allowed}; \
             raise the limit (ulimit -Hn, LimitNOFILE) or use at most {} connections",
            allowed.saturating_sub(visitors + RESERVED_DESCRIPTORS)
        );
    }
    Ok(())
}

/// Does nothing: there is no such limit on this system.
#[cfg(not(unix))]
pub(crate) const fn raise_limit(_connections: u32, _visitors: u64) -> anyhow::Result<()> {
    Ok(())
}
