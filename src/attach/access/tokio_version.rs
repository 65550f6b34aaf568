//! Whether the version of Tokio is one that can be understood.

use crate::attach::error::AttachError;
use crate::os;
use crate::process::Process;
use crate::tasks::{self, Version};

/// Checks that the process has no Tokio, or one that is not too old. Returns
/// whether its program or a library names the version of Tokio.
///
/// # Errors
///
/// Says the version if it is too old.
pub(crate) fn check_tokio(process: Process) -> Result<bool, AttachError> {
    let version = tasks::version_in(process);
    check(process.other_pid().unwrap_or_else(os::getpid), version).map(|()| version.is_some())
}

fn check(pid: i32, version: Option<Version>) -> Result<(), AttachError> {
    match tasks::too_old(version) {
        Some(version) => {
            Err(AttachError::OldTokio { pid, version: version.map(|part| part.to_string()).join(".") })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokio_that_is_too_old_is_refused_with_its_version() {
        for version in [[1, 32, 0], [1, 54, 1], [2, 0, 0]] {
            assert_eq!(check(7, Some(version)), Ok(()));
        }
        assert_eq!(check(7, None), Ok(()));
        let error = check(7, Some([1, 8, 1])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "process 7 uses Tokio 1.8.1, of which nothing certain can be said: loopscope reads Tokio 1.32 or later"
        );
    }

    #[test]
    fn the_version_of_tokio_is_in_the_program() {
        // Its constants name the sources, if the tests use Tokio at all.
        let _runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for process in [Process::Own, Process::Other(os::getpid())] {
            assert_eq!(check_tokio(process), Ok(true), "{process:?}");
        }
    }
}
