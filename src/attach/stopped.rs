//! Whether something has stopped a process as a whole. Then its threads wait
//! wherever they were, which says nothing of its code.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::attach::document::{PsVerdict, PsVerdictKind};
use crate::process::Process;

/// Files of `/proc` and of control groups are read up to this length.
const MAX_FILE_BYTES: u64 = 64 << 10;
const CGROUP_FOLDER: &str = "/sys/fs/cgroup";

/// What has stopped a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Signal,
    Debugger,
    ControlGroup,
}

impl Stop {
    /// Returns what stops the process now.
    pub(super) fn of(process: Process) -> Option<Self> {
        match process.state() {
            Some('T') => Some(Self::Signal),
            Some('t') => Some(Self::Debugger),
            _ => is_frozen(process).then_some(Self::ControlGroup),
        }
    }

    /// Returns the verdict on a process that was stopped at two moments.
    pub(super) fn verdict(self, pid: i32) -> PsVerdict {
        let reason = match self {
            Self::Signal => format!(
                "a signal such as SIGSTOP has stopped the process: no thread of it runs until `kill -CONT {pid}`"
            ),
            Self::Debugger => {
                "a debugger has stopped the process: no thread of it runs until it is continued".to_owned()
            }
            Self::ControlGroup => {
                "the control group of the process is frozen: no thread of it runs until the group is thawed"
                    .to_owned()
            }
        };
        PsVerdict {
            kind: PsVerdictKind::Stopped,
            // A tracer such as strace stops it for a moment, again and again.
            is_certain: self != Self::Debugger,
            reason,
            tasks: Vec::new(),
            threads: Vec::new(),
        }
    }
}

fn is_frozen(process: Process) -> bool {
    let groups = text(Path::new(&process.proc_path("cgroup"))).unwrap_or_default();
    groups
        .lines()
        .flat_map(frozen_files)
        .any(|(path, frozen)| text(&path).is_some_and(|text| text.lines().any(|line| line == frozen)))
}

/// Returns the files that say whether the control group of a line of
/// `/proc/PID/cgroup` is frozen, and the line in them that says so. One of them
/// exists at most: systems mount the groups of version 2 in one of two folders.
fn frozen_files(line: &str) -> Vec<(PathBuf, &'static str)> {
    let mut fields = line.splitn(3, ':');
    let (Some(number), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next()) else {
        return Vec::new();
    };
    let group = Path::new(group.trim_start_matches('/'));
    // A group outside of this namespace of control groups cannot be seen.
    let is_inside = group.components().all(|part| matches!(part, Component::Normal(_)));
    let in_folder = |folder: &str, file: &str| Path::new(CGROUP_FOLDER).join(folder).join(group).join(file);
    match (is_inside, number, controllers) {
        (true, "0", "") => {
            ["", "unified"].map(|folder| (in_folder(folder, "cgroup.events"), "frozen 1")).to_vec()
        }
        (true, _, "freezer") => vec![(in_folder("freezer", "freezer.state"), "FROZEN")],
        _ => Vec::new(),
    }
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_control_group_is_below_the_usual_folders() {
        let paths = |line| frozen_files(line).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        let both = ["/sys/fs/cgroup/a/b/cgroup.events", "/sys/fs/cgroup/unified/a/b/cgroup.events"];
        assert_eq!(paths("0::/a/b"), both.map(PathBuf::from));
        assert_eq!(paths("7:freezer:/a"), [Path::new("/sys/fs/cgroup/freezer/a/freezer.state")]);
        for line in ["0::/../a", "0::/a/../../b", "3:cpu:/a", "0:", ""] {
            assert!(paths(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn a_process_that_runs_is_not_stopped() {
        assert_eq!(Stop::of(Process::Own), None);
    }
}
